"""Images: pictures of one size, stored as their pixels; in."""

import dataclasses
import os
from typing import ClassVar

import numpy as np

from t2t_multimodel.modalities import operations
from t2t_multimodel.modalities.arrays import ArraySpec
from t2t_multimodel.modalities.base import Modality
from t2t_multimodel.registry import register_modality

_MOST_PIXELS = 50_000_000  # of a stranger's picture: about 200 MB while it is decoded


@register_modality
@dataclasses.dataclass(frozen=True)
class Image(Modality):
    """A picture, uint8 [height, width, channels]; anything else is resized to that at generation."""

    modality_name: ClassVar[str] = "image"
    costly: ClassVar[bool] = True
    reads_files: ClassVar[bool] = True
    file_kind: ClassVar[str] = "picture"

    height: int = 64
    width: int = 64
    channels: int = 3
    # "stretch": the whole picture, its proportions changed; "crop": the shorter side fits, the middle of the other.
    fit: str = "stretch"
    max_pixels: int = 180_000_000  # of a file's picture; a larger one is refused, undecoded

    def __post_init__(self):
        if self.fit not in ("stretch", "crop"):
            raise ValueError(f"Image(fit=...) is 'stretch' or 'crop', not {self.fit!r}")

    @property
    def shape(self):
        return (self.height, self.width, self.channels)

    def declaration_fault(self):
        if self.max_pixels < 1:
            return f"must allow max_pixels of at least 1, not {self.max_pixels!r}"
        if min(self.shape) < 1:
            return f"must have sides and channels of at least 1, not {self.shape}"
        return ""

    # ---- A sample

    def check(self, value):
        if not isinstance(value, np.ndarray) or value.dtype != np.uint8:
            raise ValueError(f"a uint8 array expected, got {getattr(value, 'dtype', type(value).__name__)}")
        if value.shape != self.shape:
            raise ValueError(f"shape {self.shape} expected, got {value.shape}")

    def from_line(self, line):
        if isinstance(line, np.ndarray):
            if line.dtype != np.uint8 or line.shape != self.shape:
                raise ValueError(f"it must be a uint8 picture {self.shape}, not {line.dtype} {line.shape}")
            return line
        if isinstance(line, bytes):
            return self.from_media("picture", line)
        if not isinstance(line, (str, os.PathLike)):  # a number would be the descriptor of an open file
            raise ValueError(f"it must be a path, bytes or an array, not {type(line).__name__}")
        return self.from_media(line)

    def from_media(self, name, content=None, seconds=None):
        from t2t_multimodel.data_gen.readers.pictures import read_picture

        if seconds is not None:
            raise ValueError(f"{name}: a picture has no start and end")
        return read_picture(name, *self.shape, fit=self.fit, content=content, max_pixels=self.max_pixels)

    def limited(self, hparams):
        return dataclasses.replace(self, max_pixels=min(self.max_pixels, _MOST_PIXELS))

    # ---- On disk

    def stored(self):
        return {"values": ArraySpec("uint8", self.shape)}

    def encode(self, samples, vocabulary=None):
        return [{"values": picture} for picture in samples]

    # ---- Batches

    @property
    def weights_name(self):
        return f"image_{self.height}x{self.width}x{self.channels}"

    def fixed_positions(self, hparams):
        return hparams.image_positions

    # ---- The nets

    def make_encoder(self, hparams, name):
        from t2t_multimodel.modalities.image_nets import ImageEncoder

        return ImageEncoder(self, hparams, name=name)

    def encoder_operations(self, hparams, rows, length):
        return operations.image_net(hparams, self, rows)

    # ---- For people

    def lines(self, stored, vocabulary=None):
        low, high = int(stored.min()), int(stored.max())
        values = f"values {low} to {high}, mean {stored.mean():.0f}"
        values = f"warning: every value is {low}" if low == high else values
        return [("", f"picture, {' × '.join(map(str, stored.shape))}; {values}")]

    def write_files(self, stored, captions, stem):
        from t2t_multimodel.modalities.drawings import draw_contact_sheet

        path = stem.with_name(f"{stem.name}.png")
        draw_contact_sheet(stored, captions, path)
        return [path]

    def media(self, stored):
        return "picture", stored

    def attention_axis(self, stored, grid, vocabulary=None):
        return {"picture": stored, "grid": grid}

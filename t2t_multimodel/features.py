"""Features: what one side of an example is (text, picture, sound, class), and its checks.

A `Feature` is what a problem declares. A `FeatureSpec` is what the model needs to know of it (sizes,
and the name under which weights are shared); data generation writes it into the store's manifest.
"""

import dataclasses
import hashlib
import re
from typing import ClassVar

import numpy as np

PAD_ID, EOS_ID, UNKNOWN_ID = 0, 1, 2  # the same in every vocabulary


@dataclasses.dataclass(frozen=True)
class FeatureSpec:
    """One side of an example as the model sees it.

    Problems whose specs have the same `name` share one set of modality weights.
    """

    modality: str  # "text", "image", "audio_spectrogram", "audio_waveform", "label"
    name: str  # e.g. "text_1f0c2a9b" (vocabulary digest), "image_32x32x3", "label_tiny_image"
    vocabulary_size: int = 0  # text: number of ids, commands included
    height: int = 0  # image: pixels
    width: int = 0
    channels: int = 0
    fit: str = ""  # image: how other sizes were brought to this one at generation; "" is "stretch"
    rate: int = 0  # audio: samples a second
    classes: int = 0  # label: number of classes
    # Text: what a decoder keeps to (decoding/grammars.py). Not compared: weights and examples do not depend on it.
    form: str = dataclasses.field(default="", compare=False)

    def to_json(self):
        return {k: v for k, v in dataclasses.asdict(self).items() if v}

    @classmethod
    def from_json(cls, values):
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class ProblemSpec:
    """A problem as the model sees it: two sides and the id of its command token."""

    name: str
    inputs: FeatureSpec
    targets: FeatureSpec
    command_id: int  # id in the target's vocabulary; 0 where the target is not text

    @property
    def signature(self):
        """Problems of one signature share one traced graph."""
        return (self.inputs.name, self.targets.name)


class Feature:
    """Base of the features. `modality` names the nets that read or write it."""

    modality: ClassVar[str]

    def check(self, value):
        """Raises `ValueError` with the reason if `value` is not a prepared sample of this feature."""
        raise NotImplementedError

    def spec(self, problem_name, vocabulary=None):
        """The `FeatureSpec`; `vocabulary` (with `digest` and `size`) is needed for text only."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Text(Feature):
    """A string, stored as subword ids of the data folder's shared vocabulary."""

    modality: ClassVar[str] = "text"
    language: str = ""  # for reports only, e.g. "German"
    # A regular expression: words of this feature that match it as a whole are one id each where they follow a space,
    # such as the brackets and tags of trees. For a closed set of words. Takes effect where this feature's text trains
    # the vocabulary, and then in all text: a longer word that begins with one is cut behind it.
    symbols: str = ""

    def __post_init__(self):
        try:
            re.compile(self.symbols)
        except re.error as error:
            raise ValueError(f"Text(symbols={self.symbols!r}) is no regular expression: {error}") from None

    def __repr__(self):  # enters fingerprints, so those of stores from before there were `symbols` stay as they are
        symbols = f", symbols={self.symbols!r}" if self.symbols else ""
        return f"Text(language={self.language!r}{symbols})"

    def check(self, value):
        if not isinstance(value, str):
            raise ValueError(f"text expected, got {type(value).__name__}")
        if not value.strip():
            raise ValueError("the text is empty")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"the text is not valid Unicode: {error.reason} at character {error.start}") from None

    def spec(self, problem_name, vocabulary=None):
        return FeatureSpec("text", f"text_{vocabulary.digest[:8]}", vocabulary_size=vocabulary.size)


@dataclasses.dataclass(frozen=True)
class Image(Feature):
    """A picture, [height, width, channels] uint8; anything else is resized to that at generation."""

    modality: ClassVar[str] = "image"
    height: int = 64
    width: int = 64
    channels: int = 3
    # "stretch": the whole picture, its proportions changed; "crop": the shorter side fits, the middle of the other.
    fit: str = "stretch"

    def __post_init__(self):
        if self.fit not in ("stretch", "crop"):
            raise ValueError(f"Image(fit=...) is 'stretch' or 'crop', not {self.fit!r}")

    def __repr__(self):  # enters fingerprints, so those of stores from before there was a `fit` stay as they are
        fit = "" if self.fit == "stretch" else f", fit={self.fit!r}"
        return f"Image(height={self.height}, width={self.width}, channels={self.channels}{fit})"

    def check(self, value):
        if not isinstance(value, np.ndarray) or value.dtype != np.uint8:
            raise ValueError(f"a uint8 array expected, got {getattr(value, 'dtype', type(value).__name__)}")
        if value.shape != (self.height, self.width, self.channels):
            raise ValueError(f"shape {(self.height, self.width, self.channels)} expected, got {value.shape}")

    def spec(self, problem_name, vocabulary=None):
        name = f"image_{self.height}x{self.width}x{self.channels}"
        fit = "" if self.fit == "stretch" else self.fit
        return FeatureSpec("image", name, height=self.height, width=self.width, channels=self.channels, fit=fit)


@dataclasses.dataclass(frozen=True)
class Audio(Feature):
    """A recording, [samples] int16 PCM, one channel at `rate` Hz; other rates are resampled at generation."""

    modality: ClassVar[str] = "audio"
    rate: int = 16000
    form: str = "spectrogram"  # what the input net reads: "spectrogram" or "waveform"

    def __post_init__(self):
        if self.form not in ("spectrogram", "waveform"):
            raise ValueError(f"Audio(form=...) is 'spectrogram' or 'waveform', not {self.form!r}")

    def check(self, value):
        if not isinstance(value, np.ndarray) or value.dtype != np.int16 or value.ndim != 1:
            raise ValueError(
                f"a one-dimensional int16 array expected, got {getattr(value, 'dtype', type(value).__name__)}"
            )
        if not len(value):
            raise ValueError("the recording has no samples")

    def spec(self, problem_name, vocabulary=None):
        return FeatureSpec(f"audio_{self.form}", f"audio_{self.form}_{self.rate}", rate=self.rate)


@dataclasses.dataclass(frozen=True)
class Label(Feature):
    """One class of several. `classes` are the names in order; samples are names."""

    modality: ClassVar[str] = "label"
    classes: tuple = ()

    def check(self, value):
        if value not in self.classes:
            raise ValueError(
                f"{value!r} is not one of the {len(self.classes)} classes ({', '.join(map(str, self.classes[:5]))}, …)"
            )

    def spec(self, problem_name, vocabulary=None):
        digest = hashlib.sha256("\0".join(map(str, self.classes)).encode()).hexdigest()
        return FeatureSpec("label", f"label_{digest[:8]}", classes=len(self.classes))

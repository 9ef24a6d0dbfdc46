"""What the tests of picture corpora share: JPEGs, and the official archives made byte for byte in their layout."""

import io
import tarfile

import numpy as np
from PIL import Image as PillowImage

from t2t_multimodel.data_gen.readers import corpora


def jpeg(colour, height=40, width=60, mode="RGB", form="JPEG"):
    """The bytes of a picture of one colour; `mode` is Pillow's."""
    content = io.BytesIO()
    PillowImage.new("RGB", (width, height), tuple(colour)).convert(mode).save(content, form, quality=95)
    return content.getvalue()


def tar(path, files):
    """Writes an uncompressed tar of {name: bytes} as GNU tar does, plain files in that order, and returns its bytes."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.getvalue())
    return content.getvalue()


def colour_of(picture):
    """The mean colour of uint8 [height, width, 3]."""
    return np.asarray(picture, float).mean(axis=(0, 1))


def use_folders(monkeypatch, data_dir):
    """Corpora are looked for in `data_dir`/manual and `data_dir`/downloads, until the test ends."""
    monkeypatch.delenv("T2T_MANUAL_DIR", raising=False)
    monkeypatch.setattr(corpora, "_folders", dict(corpora._folders))
    corpora.set_folders(data_dir)
    return data_dir / "manual"

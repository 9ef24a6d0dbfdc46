"""Pictures in any format that Pillow reads → uint8 arrays of a given size."""

import contextlib
import io
import math

import numpy as np

from t2t_multimodel.errors import UserError
from t2t_multimodel.regular_files import open_regular

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
MAX_PIXELS = 180_000_000  # about what Pillow itself decodes at most; the default of `Image.max_pixels`
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # channels → Pillow's name
_BLOCK = 1 << 20  # bytes that the decoder of JPEG gets at once; with Pillow's 64 KiB it begins some rows twice
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values that swap width and height


def read_picture(path, height, width, channels, *, fit="stretch", content=None, max_pixels=MAX_PIXELS):
    """Reads the picture at `path`, rotated by its EXIF orientation and resized to `height` × `width` pixels.

    Pictures are converted to grey, RGB or RGBA for 1, 3 or 4 `channels`; transparent pixels become white. Only the
    first frame of an animation is read. A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if that is not smaller than
    the target: the decoder averages in its cosine coefficients, about twice as fast.

    Args:
      path: the file; with `content`, the name of the picture in errors.
      fit: "stretch" (the whole picture, aspect ratio changed) or "crop" (aspect ratio kept, the longer side is
        center-cropped).
      content: the bytes of the picture, if it is not a file.
      max_pixels: a larger picture is refused, by its header and while it is decoded.

    Returns:
      uint8 `[height, width, channels]`.

    Raises:
      ValueError: a missing file, not a regular one, not a picture, a damaged or too large one; the message names it.
    """
    from PIL import Image, ImageOps

    if channels not in _MODES:
        raise UserError(f"a picture has 1 (grey), 3 (colour) or 4 (colour and opacity) channels, not {channels}")
    try:
        with _opened(path, content) as file, _limit_of_pillow(), Image.open(file) as picture:
            Image.MAX_IMAGE_PIXELS = max_pixels  # for decoders that find out more than the header says
            if picture.width * picture.height > max_pixels:
                size = f"{picture.width:,} × {picture.height:,} pixels"
                raise ValueError(f"{size}, more than the {max_pixels:,} that max_pixels allows")
            if picture.format == "EPS":  # a program in PostScript, which Pillow runs
                raise ValueError("PostScript; save it as PNG or JPEG")
            _decode_small(picture, height, width, _MODES[channels], fit)
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            picture = _in_mode(picture, _MODES[channels])
            box = _middle(*picture.size, width, height) if fit == "crop" else None
            picture = picture.resize((width, height), Image.Resampling.BILINEAR, box)  # smooths when it shrinks
            return np.array(picture, np.uint8).reshape(height, width, channels)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except Exception as error:  # on damaged files Pillow's decoders raise nearly anything
        raise ValueError(f"{path}: can't be decoded as a picture ({_first_line(error)})") from error


def _opened(path, content):
    return open_regular(path) if content is None else io.BytesIO(content)


@contextlib.contextmanager
def _limit_of_pillow():
    """Lifts Pillow's own limit, which warns first, and puts it back."""
    from PIL import Image

    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _decode_small(picture, height, width, mode, fit):
    """Makes Pillow decode a JPEG at the smallest size that covers the target; does nothing for other formats."""
    if picture.format != "JPEG":
        return
    if picture.getexif().get(_ORIENTATION) in _ON_ITS_SIDE:
        height, width = width, height
    if fit == "crop":
        scale = max(width / picture.width, height / picture.height)
        width, height = math.ceil(picture.width * scale), math.ceil(picture.height * scale)
    picture.draft("L" if mode == "L" else "RGB", (width, height))
    picture.decodermaxblock = _BLOCK


def _middle(width, height, wanted_width, wanted_height):
    """The largest centered box in `width` × `height` with the target aspect ratio: (left, top, right, bottom)."""
    scale = min(width / wanted_width, height / wanted_height)
    left, top = (width - wanted_width * scale) / 2, (height - wanted_height * scale) / 2
    return max(left, 0.0), max(top, 0.0), min(width - left, width), min(height - top, height)


def _in_mode(picture, mode):
    from PIL import Image

    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range; save it with 8 or 16 bits")
    if picture.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion cuts off above 255
        picture = Image.fromarray((np.clip(np.array(picture, np.int64), 0, 65535) // 257).astype(np.uint8))
    if mode != "RGBA" and ("A" in picture.mode or "transparency" in picture.info):
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert(mode)


def _first_line(error):
    reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    if reason.startswith("cannot identify image file"):  # and the name of an object of Python
        return "no picture, or of a format that Pillow does not read"
    return reason.split("\n")[0]

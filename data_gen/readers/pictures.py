"""Pictures in any format that Pillow reads → uint8 arrays of a given size."""

import numpy as np

from t2t_multimodel.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # channels → Pillow's name


def read_picture(path, height, width, channels):
    """Reads the picture at `path`, turned upright as its EXIF data say, and stretched to `height` × `width` pixels.

    Grey becomes colour or colour grey as `channels` (1, 3 or 4) asks; what is transparent becomes white. Of a moving
    picture the first frame is taken.

    Returns:
      uint8 `[height, width, channels]`.

    Raises:
      ValueError: no such file, or not a picture, or a damaged one; the message names the file.
    """
    from PIL import Image, ImageOps

    if channels not in _MODES:
        raise UserError(f"a picture has 1 (grey), 3 (colour) or 4 (colour and opacity) channels, not {channels}")
    try:
        with Image.open(path) as picture:
            picture = _in_mode(ImageOps.exif_transpose(picture), _MODES[channels])
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)  # smooths when it shrinks
            return np.array(picture, np.uint8).reshape(height, width, channels)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except Exception as error:  # on damaged files Pillow's decoders raise nearly anything
        raise ValueError(f"{path}: can't be decoded as a picture ({_first_line(error)})") from error


def _in_mode(picture, mode):
    from PIL import Image

    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers, whose range is not known; save it with 8 or 16 bits")
    if picture.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion cuts off above 255
        picture = Image.fromarray((np.clip(np.array(picture, np.int64), 0, 65535) // 257).astype(np.uint8))
    if mode != "RGBA" and ("A" in picture.mode or "transparency" in picture.info):
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert(mode)


def _first_line(error):
    return (str(error).strip() or type(error).__name__).split("\n")[0]

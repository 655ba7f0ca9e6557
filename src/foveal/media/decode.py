"""Untrusted bytes -> an RGB image, upright, on white. Runs where a crash or a hang costs one image only.

Knows nothing of models, requests or processes. The magic bytes decide the format, which must be one of those allowed.
The number of pixels is read from the header before anything is decoded. Of an animation the first frame is used.
Metadata other than the orientation is not read.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from foveal.media.refusal import DAMAGED, Refused
from foveal.types import Size

# Imported by name, so that Pillow never searches for plugins.
_PLUGINS = (
    PngImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,  # a JPEG with further images after it, such as a stereo pair
    GifImagePlugin,
    BmpImagePlugin,
    TiffImagePlugin,
    PpmImagePlugin,
    WebPImagePlugin,
)
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "WEBP")
NOT_A_PICTURE = "not a picture in a supported format (PNG, JPEG, GIF, BMP, TIFF, PPM, WebP)"

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {  # EXIF orientation -> what makes the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = (5, 6, 7, 8)
_WHITE = (255, 255, 255)


def measure(encoded: bytes, max_pixels: int) -> Size:
    """The size of the upright image, from its header. Raises Refused."""
    with _open(encoded, max_pixels) as picture:
        width, height = picture.size
        return Size(height, width) if _orientation(picture) in _SWAPS_SIDES else Size(width, height)


def decode(encoded: bytes, max_pixels: int) -> Image.Image:
    """The image in mode RGB, upright. Raises Refused; MemoryError where the process has a limit."""
    with _open(encoded, max_pixels) as picture:
        orientation = _orientation(picture)
        try:
            picture.load()
            rgb = _to_rgb(picture)
        except MemoryError:
            raise
        except Exception:  # decoders raise errors of every kind; their messages are not for the client
            raise Refused(DAMAGED) from None
    return rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb


def _open(encoded: bytes, max_pixels: int) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except UnidentifiedImageError:
        raise Refused(NOT_A_PICTURE) from None
    except Image.DecompressionBombError:
        raise _too_many_pixels(max_pixels) from None
    except MemoryError:
        raise
    except Exception:  # as in decode
        raise Refused(DAMAGED) from None
    if picture.width * picture.height > max_pixels:
        raise _too_many_pixels(max_pixels)
    return picture


def _too_many_pixels(max_pixels: int) -> Refused:
    return Refused(f"more than {max_pixels:,} pixels, the limit for each image; scale it down")


def _orientation(picture: Image.Image) -> int:
    """1 to 8, read before the pixels are decoded. Pillow turns TIFFs itself, and decodes a PNG to find its EXIF."""
    if picture.format == "TIFF" or (picture.format == "PNG" and "exif" not in picture.info):
        return 1
    with contextlib.suppress(Exception):  # a broken EXIF block is ignored: the image may be good
        return int(picture.getexif().get(_ORIENTATION_TAG, 1))
    return 1


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _to_8_bits(picture).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    painted = picture.convert("RGBA")
    background = Image.new("RGB", picture.size, _WHITE)
    background.paste(painted, mask=painted.getchannel("A"))
    return background


def _to_8_bits(picture: Image.Image) -> Image.Image:
    """Deep greyscale -> 8 bits. Pillow would clip it at 255.

    Integers are taken as 16 bits, floats as 0..1, 0..255 or 0..65535. Where the maximum is larger, it becomes white.
    """
    grey = np.nan_to_num(np.array(picture, dtype=np.float32), copy=False)
    peak = float(grey.max())
    scales = (1.0, 255.0, 65535.0) if picture.mode == "F" else (65535.0,)
    full = next((scale for scale in scales if peak <= scale), peak)
    np.clip(grey, 0, full, out=grey)
    grey *= 255 / full
    return Image.fromarray((grey + 0.5).astype(np.uint8))

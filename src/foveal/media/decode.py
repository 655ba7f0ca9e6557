"""Untrusted bytes -> an RGB image, upright, on white. Runs where a crash or a hang costs one image only.

Knows nothing of models, requests or processes. The magic bytes decide the format, which must be one of those allowed.
The number of pixels is read from the header before anything is decoded. Of an animation the first frame is used.
Metadata other than the orientation is not read. What Pillow reads wrongly, `tiff`, `bmp` and `png` read.
"""

from __future__ import annotations

import contextlib
import io
from typing import Protocol

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

from foveal.media import bmp, png, tiff, unsupported
from foveal.media.refusal import DAMAGED, Refused
from foveal.media.samples import RULES, shown
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
_PLAIN_MAGIC = (png.SIGNATURE, b"\xff\xd8\xff")
_PLAIN_FORMATS, _PLAIN_MODES = ("PNG", "JPEG"), ("L", "P", "RGB")
_JPEG_END = b"\xff\xd9"
_NO_PIXELS = bytes(range(1, 128)) * 8  # entropy-coded data that would show, were it part of a picture


class _Picture(Protocol):
    """A picture whose header has been read."""

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def orientation(self) -> int: ...

    def decode(self) -> Image.Image:
        """RGB on white, as it is stored. May raise anything."""


def measure(encoded: bytes, max_pixels: int) -> Size:
    """The size of the upright image, from its header. Raises Refused."""
    picture = _open(encoded, max_pixels)
    width, height = picture.size
    return Size(height, width) if picture.orientation in _SWAPS_SIDES else Size(width, height)


def is_plain(encoded: bytes) -> bool:
    """Whether the image, which `measure` took, is one that other decoders show as `decode` does."""
    if not encoded.startswith(_PLAIN_MAGIC):
        return False
    picture = _recognised(encoded)
    return isinstance(picture, _Common) and picture.is_plain and picture.orientation not in _UPRIGHT


def decode(encoded: bytes, max_pixels: int) -> Image.Image:
    """The image in mode RGB, upright. Raises Refused; MemoryError where the process has a limit."""
    picture = _open(encoded, max_pixels)
    try:
        rgb = picture.decode()
    except (MemoryError, Refused):
        raise
    except Exception:  # decoders raise errors of every kind; their messages are not for the client
        raise Refused(DAMAGED) from None
    orientation = picture.orientation
    return rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb


def _open(encoded: bytes, max_pixels: int) -> _Picture:
    try:
        picture = _recognised(encoded)
    except Image.DecompressionBombError:
        raise _too_many_pixels(max_pixels) from None
    except (MemoryError, Refused):
        raise
    except Exception:  # as in decode
        raise Refused(DAMAGED) from None
    width, height = picture.size
    if width * height > max_pixels:
        raise _too_many_pixels(max_pixels)
    if width <= 0 or height <= 0:
        raise Refused(DAMAGED)
    return picture


def _recognised(encoded: bytes) -> _Picture:
    """Raises Refused for what no decoder takes, and errors of any kind."""
    if encoded.startswith(png.SIGNATURE):
        encoded = png.tidied(encoded)
    deep = tiff.parse(encoded)
    if deep is not None and deep.is_read_wrongly:
        return deep
    try:
        return _Common(encoded)
    except UnidentifiedImageError:
        if deep is None:
            raise Refused(unsupported.name(encoded)) from None
        return deep
    except OSError:
        if (masked := bmp.parse(encoded)) is None:
            raise
        return masked


def _too_many_pixels(max_pixels: int) -> Refused:
    return Refused(f"more than {max_pixels:,} pixels, the limit for each image; scale it down")


class _Common:
    """A picture that Pillow reads."""

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded
        self._picture = Image.open(io.BytesIO(encoded), formats=FORMATS)
        self.size = self._picture.size
        self.orientation = _orientation(self._picture)

    @property
    def is_plain(self) -> bool:
        """Without transparency, deep samples or other colours than red, green and blue."""
        picture = self._picture
        return picture.format in _PLAIN_FORMATS and picture.mode in _PLAIN_MODES and not picture.has_transparency_data

    def decode(self) -> Image.Image:
        with self._picture as picture:
            first = picture.tile[0].extents if picture.tile else None  # of a GIF's frames: where it lies
            try:
                picture.load()
            except OSError:
                return _rgb_without_end(self._encoded, picture)
            rgb = _to_rgb(picture, self._encoded)
        if picture.format == "GIF" and first is not None and first != (0, 0, *picture.size):
            canvas = Image.new("RGB", picture.size, _WHITE)
            canvas.paste(rgb.crop(first), first[:2])
            return canvas
        return rgb


def _orientation(picture: Image.Image) -> int:
    """1 to 8, read before the pixels are decoded. Pillow turns TIFFs itself, and decodes a PNG to find its EXIF."""
    if picture.format == "TIFF" or (picture.format == "PNG" and "exif" not in picture.info):
        return 1
    with contextlib.suppress(Exception):  # a broken EXIF block is ignored: the image may be good
        return int(picture.getexif().get(_ORIENTATION_TAG, 1))
    return 1


def _rgb_without_end(encoded: bytes, picture: Image.Image) -> Image.Image:
    """A JPEG without its end marker, as some cameras write it, if all pixels are there.

    They are if further data changes nothing: a decoder that lacked some would take it for pixels.
    """
    if picture.format != "JPEG":
        raise Refused(DAMAGED)
    both = []
    for more in (b"", _NO_PIXELS):
        with Image.open(io.BytesIO(encoded + more + _JPEG_END), formats=("JPEG",)) as whole:
            both.append(whole.convert("RGB"))
    if both[0].tobytes() != both[1].tobytes():
        raise Refused(DAMAGED)
    return both[0]


def _to_rgb(picture: Image.Image, encoded: bytes) -> Image.Image:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        grey = np.asarray(picture)[..., None]
        transparent = png.is_transparent(picture, encoded)
        alpha = None if transparent is None else np.where(transparent, 0, 65535)
        return shown(grey, alpha, RULES["f32" if picture.mode == "F" else "u16"])
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    alpha8 = _alpha(picture, encoded)
    background = Image.new("RGB", picture.size, _WHITE)
    background.paste(picture.convert("RGBA"), mask=alpha8)
    return background


def _alpha(picture: Image.Image, encoded: bytes) -> Image.Image | None:
    transparent = png.is_transparent(picture, encoded)
    if transparent is not None:
        return Image.fromarray(np.where(transparent, 0, 255).astype(np.uint8))
    alpha = picture.convert("RGBA").getchannel("A")
    if picture.format == "BMP" and alpha.getextrema() == (0, 0):  # screenshots that never wrote it; all show them
        return None
    return alpha

"""What Pillow does not do with PNG: forgive damage that does not show, and find a transparent colour of 16 bits."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NEEDED = (b"tRNS", b"eXIf")  # of the chunks that a decoder may leave out
_MAX_CHUNKS = 100_000
_BITS_AT = 24  # in IHDR, which comes first


def tidied(encoded: bytes) -> bytes:
    """Without chunks that change no pixel, so that damage in them does not matter; an orientation stays.

    Only what comes before the pixels has an orientation that counts.
    """
    kept, offset, is_before_pixels = [SIGNATURE], len(SIGNATURE), True
    for _ in range(_MAX_CHUNKS):
        if offset + 12 > len(encoded):
            break
        length, kind = struct.unpack_from(">I4s", encoded, offset)
        end = offset + 12 + length
        is_before_pixels = is_before_pixels and kind != b"IDAT"
        is_critical = not kind[0] & 0x20
        if is_critical or (kind in _NEEDED and is_before_pixels and _is_whole(encoded, offset, end)):
            kept.append(encoded[offset:end])
        offset = end
    return b"".join(kept)


def is_transparent(picture: Image.Image, encoded: bytes) -> NDArray[np.bool_] | None:
    """Where a PNG of 16 bits has the colour that stands for transparent. None for all other pictures.

    Pillow keeps the high bytes of 16-bit RGB only. Unpacked in the other order, they are the low ones.
    """
    colour = picture.info.get("transparency")
    if picture.format != "PNG" or colour is None or encoded[_BITS_AT] != 16:
        return None
    if picture.mode != "RGB":
        return np.asarray(np.asarray(picture) == colour)
    with Image.open(io.BytesIO(encoded), formats=("PNG",)) as low:
        low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]
        both = np.asarray(picture).astype(np.uint16) << 8 | np.asarray(low)
    return np.asarray((both == colour).all(axis=2))


def _is_whole(encoded: bytes, offset: int, end: int) -> bool:
    stated = encoded[end - 4 : end]
    return len(stated) == 4 and zlib.crc32(encoded[offset + 4 : end - 4]) == struct.unpack(">I", stated)[0]

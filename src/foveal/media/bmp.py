"""BMPs whose channels lie under masks that Pillow does not know, such as ten bits each. Source: BITMAPV5HEADER."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveal.media.refusal import DAMAGED, Refused

_BITFIELDS = 3
_FILE_HEADER_BYTES = 14
_MIN_HEADER_BYTES = 40
_RGB_MASKS_AT = _FILE_HEADER_BYTES + 40  # behind a header of 40 bytes, or in a longer one


@dataclass(frozen=True, slots=True)
class MaskedBmp:
    """A BMP of 16 or 32 bits in a pixel. Its alpha, if it has any, is not used."""

    encoded: bytes
    size: tuple[int, int]
    is_upside_down: bool
    num_bits: int
    masks: tuple[int, int, int]
    start: int
    orientation = 1

    def decode(self) -> Image.Image:
        """RGB."""
        width, height = self.size
        stride = -(-width * self.num_bits // 32) * 4
        rows = np.frombuffer(self.encoded, np.uint8, stride * height, self.start).reshape(height, stride)
        pixels = rows[:, : width * self.num_bits // 8].copy().view(f"<u{self.num_bits // 8}").astype(np.uint32)
        rgb = np.stack([_channel(pixels, mask) for mask in self.masks], axis=-1)
        return Image.fromarray(rgb if self.is_upside_down else rgb[::-1])


def parse(encoded: bytes) -> MaskedBmp | None:
    """None for anything else. Raises Refused for a header that cannot be."""
    if encoded[:2] != b"BM" or len(encoded) < _RGB_MASKS_AT + 12:
        return None
    start, header_bytes, width, height, _, num_bits, compression = struct.unpack_from("<IIiiHHI", encoded, 10)
    if header_bytes < _MIN_HEADER_BYTES or compression != _BITFIELDS or num_bits not in (16, 32):
        return None
    masks = struct.unpack_from("<III", encoded, _RGB_MASKS_AT)
    if width <= 0 or height == 0 or 0 in masks:
        raise Refused(DAMAGED)
    return MaskedBmp(encoded, (width, abs(height)), height < 0, num_bits, masks, start)


def _channel(pixels: NDArray[np.uint32], mask: int) -> NDArray[np.uint8]:
    shift = (mask & -mask).bit_length() - 1
    levels = (pixels & np.uint32(mask)) >> np.uint32(shift)
    return (levels.astype(np.float32) * (255.0 / (mask >> shift)) + 0.5).astype(np.uint8)

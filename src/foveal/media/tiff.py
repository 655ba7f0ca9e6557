"""TIFFs that Pillow cannot read or reads wrongly: samples of 16 to 64 bits, planes, alpha beside grey, BigTIFF.

The strips of such a file are read as a grey picture of *bytes*: a header is written before them that says so. Thus
libtiff unpacks them (LZW, deflate, ...), and numpy makes samples of the bytes. `RULES` says what the samples mean.
Source: TIFF 6.0; Adobe's technical notes 1 to 3 (predictor 3); the BigTIFF proposal.
"""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from foveal.media.refusal import DAMAGED, Refused
from foveal.media.samples import RULES, shown

_MAX_TAGS = 1000
_MAX_VALUES = 1 << 20  # of a tag
_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_COMPRESSIONS = {1: 1, 5: 5, 8: 8, 32946: 8, 32773: 32773, 50000: 50000}  # streams of bytes, which any bytes can be
_GREY = {0, 1}
_RGB = 2
_PLANES = 2
_ASSOCIATED, _UNASSOCIATED = 1, 2

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIP_OFFSETS, ORIENTATION = 256, 257, 258, 259, 262, 273, 274
NUM_SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANAR, PREDICTOR = 277, 278, 279, 284, 317
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES, EXTRA_SAMPLES, SAMPLE_FORMAT = 322, 323, 324, 325, 338, 339
_FORMATS = {1: "u", 2: "i", 3: "f"}
_NAMED = {f"{kind}{bits}" for kind in "uif" for bits in range(1, 129)}


@dataclass(frozen=True, slots=True)
class Tiff:
    """The first picture of a file."""

    encoded: bytes
    order: str  # "<" or ">"
    tags: dict[int, tuple[int, ...]]
    is_reversed: bool  # a big-endian BigTIFF

    @property
    def size(self) -> tuple[int, int]:
        return self._one(WIDTH), self._one(HEIGHT)

    @property
    def orientation(self) -> int:
        return self._one(ORIENTATION, 1)

    @property
    def num_samples(self) -> int:
        return self._one(NUM_SAMPLES, 1)

    @property
    def sample_type(self) -> str:
        """Such as u16; the name of a rule, if there is one."""
        bits, formats = set(self.tags.get(BITS, (1,))), set(self.tags.get(SAMPLE_FORMAT, (1,)))
        return f"{_FORMATS.get(formats.pop(), '?')}{bits.pop()}" if len(bits) == len(formats) == 1 else "mixed"

    @property
    def is_read_wrongly(self) -> bool:
        """By Pillow, which does show RGB of 16 bits, unless it lies in planes or in a big-endian BigTIFF."""
        if self._one(PHOTOMETRIC, -1) not in (*_GREY, _RGB):
            return False
        is_rgb16 = self._one(PHOTOMETRIC) == _RGB and self.sample_type == "u16" and self._one(PLANAR, 1) != _PLANES
        return self.is_reversed or (max(self.tags.get(BITS, (1,))) > 8 and not is_rgb16)

    def decode(self) -> Image.Image:
        """RGB on white, as it is stored. Raises Refused with the name of what cannot be read; errors of any kind."""
        self._check()
        samples = self._samples()
        rule, photometric = RULES[self.sample_type], self._one(PHOTOMETRIC)
        num_colours = 3 if photometric == _RGB else 1
        colours, alpha = samples[..., :num_colours], None
        extra = self.tags.get(EXTRA_SAMPLES, (0,))[0]
        if self.num_samples > num_colours and extra in (_ASSOCIATED, _UNASSOCIATED):
            alpha = samples[..., num_colours]
        return shown(colours, alpha, rule, is_white_low=photometric == 0, is_premultiplied=extra == _ASSOCIATED)

    def _check(self) -> None:
        photometric = self._one(PHOTOMETRIC)
        least = 3 if photometric == _RGB else 1
        if photometric not in (*_GREY, _RGB) or self.sample_type not in RULES or self.num_samples < least:
            kind = {0: "grey", 1: "grey", 2: "RGB", 3: "a palette", 5: "CMYK", 6: "YCbCr", 8: "CIELab"}.get(photometric)
            bits = self.sample_type[1:] if self.sample_type in _NAMED else "an unusual number of"
            raise Refused(
                f"a TIFF of {kind or 'an unusual kind'} with {bits} bits in a sample, which is not read here; save it "
                "with 8 bits or as PNG"
            )
        if self._one(COMPRESSION, 1) not in _COMPRESSIONS:
            raise Refused("a TIFF in a compression that is not read here; save it without, or as PNG")

    def _samples(self) -> NDArray[Any]:
        """[height, width, samples]"""
        if self._one(PLANAR, 1) != _PLANES:
            return self._unpacked(0, 1, self.num_samples)
        planes = [self._unpacked(i, self.num_samples, 1) for i in range(self.num_samples)]
        return np.concatenate(planes, axis=2)

    def _unpacked(self, plane: int, num_planes: int, num_samples: int) -> NDArray[Any]:
        """The plane of that number, with so many samples in a pixel."""
        width, height = self.size
        dtype = np.dtype(f"{self.order}{self.sample_type[0]}{int(self.sample_type[1:]) // 8}")
        pixel_bytes = dtype.itemsize * num_samples
        tiled = TILE_OFFSETS in self.tags
        block = self._one(TILE_WIDTH) if tiled else width
        byte_width = -(-width // block) * block * pixel_bytes if tiled else width * pixel_bytes
        grey = self._as_bytes(plane, num_planes, pixel_bytes, byte_width)
        blocks = grey.reshape(height, -1, block * pixel_bytes)  # the predictor begins anew in each tile
        samples = _predicted(blocks, dtype, num_samples, self._one(PREDICTOR, 1))
        return samples.reshape(height, -1, num_samples)[:, :width]

    def _as_bytes(self, plane: int, num_planes: int, pixel_bytes: int, byte_width: int) -> NDArray[np.uint8]:
        tiled = TILE_OFFSETS in self.tags
        offsets, counts = (TILE_OFFSETS, TILE_BYTES) if tiled else (STRIP_OFFSETS, STRIP_BYTES)
        height = self.size[1]
        tags: dict[int, tuple[int, ...]] = {
            WIDTH: (byte_width,),
            HEIGHT: (height,),
            BITS: (8,),
            PHOTOMETRIC: (1,),
            NUM_SAMPLES: (1,),
        }
        tags[COMPRESSION] = (_COMPRESSIONS[self._one(COMPRESSION, 1)],)
        for tag in (offsets, counts):
            values = self.tags[tag]
            length = len(values) // num_planes
            tags[tag] = values[plane * length : (plane + 1) * length]
        if tiled:
            tags |= {TILE_WIDTH: (self._one(TILE_WIDTH) * pixel_bytes,), TILE_HEIGHT: (self._one(TILE_HEIGHT),)}
        else:
            tags[ROWS_PER_STRIP] = (min(self._one(ROWS_PER_STRIP, height), height),)
        with TiffImagePlugin.TiffImageFile(io.BytesIO(_written(tags, offsets, self.encoded))) as picture:
            return np.asarray(picture)

    def _one(self, tag: int, default: int | None = None) -> int:
        values = self.tags.get(tag)
        if not values:
            if default is None:
                raise Refused(DAMAGED)
            return default
        return values[0]


def parse(encoded: bytes) -> Tiff | None:
    """None for what is no TIFF. Raises Refused for one whose tags cannot be read."""
    order = {b"II": "<", b"MM": ">"}.get(encoded[:2])
    if order is None or len(encoded) < 8:
        return None
    version = struct.unpack_from(f"{order}H", encoded, 2)[0]
    if version not in (42, 43):
        return None
    try:
        tags = _tags(encoded, order, is_big=version == 43)
    except struct.error:
        raise Refused(DAMAGED) from None
    return Tiff(encoded, order, tags, is_reversed=version == 43 and order == ">")


def _tags(encoded: bytes, order: str, *, is_big: bool) -> dict[int, tuple[int, ...]]:
    """The tags whose values are whole numbers."""
    offset_type, entry, start = ("Q", "HHQ", 8) if is_big else ("I", "HHI", 4)
    offset = struct.unpack_from(order + offset_type, encoded, start)[0]
    num_tags = struct.unpack_from(order + ("Q" if is_big else "H"), encoded, offset)[0]
    offset += 8 if is_big else 2
    value_bytes = struct.calcsize("=" + offset_type)
    tags = {}
    for _ in range(min(num_tags, _MAX_TAGS)):
        tag, kind, count = struct.unpack_from(order + entry, encoded, offset)
        place = offset + struct.calcsize("=" + entry)
        offset = place + value_bytes
        if kind in _TYPES and count <= _MAX_VALUES:
            if struct.calcsize("=" + _TYPES[kind]) * count > value_bytes:
                place = struct.unpack_from(order + offset_type, encoded, place)[0]
            tags[tag] = struct.unpack_from(f"{order}{count}{_TYPES[kind]}", encoded, place)
    return tags


def _written(tags: dict[int, tuple[int, ...]], offsets: int, encoded: bytes) -> bytes:
    """A little-endian TIFF of these tags, with `encoded` behind them. The values of tag `offsets` lie in `encoded`."""
    values_at = 8 + 2 + 12 * len(tags) + 4
    start = values_at + sum(4 * len(values) for values in tags.values())
    entries, longs = b"", b""
    for tag, values in sorted(tags.items()):
        moved = [value + start for value in values] if tag == offsets else values
        packed = struct.pack(f"<{len(moved)}I", *moved)
        entries += struct.pack("<HHI", tag, 4, len(moved))
        entries += packed if len(moved) == 1 else struct.pack("<I", values_at + len(longs))
        longs += packed
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + longs
    return head + bytes(start - len(head)) + encoded


def _predicted(rows: NDArray[np.uint8], dtype: np.dtype[Any], num_samples: int, predictor: int) -> NDArray[Any]:
    """[rows, blocks, bytes] -> [rows, blocks, samples]: what the differences of neighbours are the differences of."""
    if predictor == 3:  # of bytes, the highest of all samples first
        summed = _summed(rows, num_samples)
        planes = summed.reshape(*rows.shape[:2], dtype.itemsize, -1)
        return np.ascontiguousarray(planes.swapaxes(2, 3)).view(dtype.newbyteorder(">"))[..., 0]
    samples = np.ascontiguousarray(rows).view(dtype)
    return _summed(samples.astype(dtype.newbyteorder("=")), num_samples) if predictor == 2 else samples


def _summed(values: NDArray[Any], step: int) -> NDArray[Any]:
    """Sums along the last axis of every `step`-th value, without carry."""
    steps = values.reshape(*values.shape[:2], math.prod(values.shape[2:]) // step, step)
    return np.cumsum(steps, axis=2, dtype=values.dtype).reshape(values.shape)

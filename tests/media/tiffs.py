"""Writes TIFFs of any sample type from known samples, in strips or tiles, packed or not, in either byte order."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FORMATS = {"u": 1, "i": 2, "f": 3}


@dataclass(frozen=True, kw_only=True)
class Form:
    """How samples are written. `extra`: of a sample beyond the colours; 1 premultiplied alpha, 2 alpha."""

    photometric: int = 1
    extra: int | None = None
    order: str = "<"
    is_big: bool = False
    planar: bool = False
    deflate: bool = False
    predictor: int = 1
    rows_per_strip: int = 5
    orientation: int = 1


def tiff(samples: NDArray[Any], form: Form) -> bytes:
    """Samples [height, width, samples]."""
    height, width, num_samples = samples.shape
    planes = [samples[..., i : i + 1] for i in range(num_samples)] if form.planar else [samples]
    strips = [_strip(plane[row : row + form.rows_per_strip], form) for plane in planes for row in _rows(height, form)]
    bits = 8 * samples.dtype.itemsize
    tags: dict[int, list[int]] = {
        256: [width], 257: [height], 258: [bits] * num_samples, 259: [8 if form.deflate else 1],
        262: [form.photometric], 273: [], 274: [form.orientation], 277: [num_samples], 278: [form.rows_per_strip],
        279: [len(strip) for strip in strips], 284: [2 if form.planar else 1], 317: [form.predictor],
        339: [_FORMATS[samples.dtype.kind]] * num_samples,
    }  # fmt: skip
    if form.extra is not None:
        tags[338] = [form.extra]
    return _file(tags, strips, form)


def _rows(height: int, form: Form) -> range:
    return range(0, height, form.rows_per_strip)


def _strip(samples: NDArray[Any], form: Form) -> bytes:
    if form.predictor == 2:
        samples = np.diff(samples, axis=1, prepend=np.zeros_like(samples[:, :1]))
    content = np.ascontiguousarray(samples.astype(samples.dtype.newbyteorder(form.order))).tobytes()  # type: ignore[arg-type]
    if form.predictor == 3:
        content = _byte_planes(samples)
    return zlib.compress(content) if form.deflate else content


def _byte_planes(samples: NDArray[Any]) -> bytes:
    height, _, num_samples = samples.shape
    big = np.ascontiguousarray(samples.astype(samples.dtype.newbyteorder(">"))).view(np.uint8)
    planes = big.reshape(height, -1, samples.dtype.itemsize).swapaxes(1, 2).reshape(height, -1, num_samples)
    return np.diff(planes, axis=1, prepend=np.zeros_like(planes[:, :1])).tobytes()


def _file(tags: dict[int, list[int]], strips: list[bytes], form: Form) -> bytes:
    """The pixels after the header, the tags after the pixels."""
    kind, code, head_bytes = ("Q", 16, 16) if form.is_big else ("I", 4, 8)
    tags[273] = [head_bytes + sum(map(len, strips[:i])) for i in range(len(strips))]
    pixels = b"".join(strips)
    at = head_bytes + len(pixels)
    word = struct.calcsize("=" + kind)
    behind = at + (8 if form.is_big else 2) + len(tags) * (4 + 2 * word) + word
    entries, longs = b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{form.order}{len(values)}{kind}", *values)
        entries += struct.pack(f"{form.order}HH{kind}", tag, code, len(values))
        entries += packed if len(values) == 1 else struct.pack(form.order + kind, behind + len(longs))
        longs += b"" if len(values) == 1 else packed
    mark = b"II" if form.order == "<" else b"MM"
    head = mark + (
        struct.pack(f"{form.order}HHHQ", 43, 8, 0, at) if form.is_big else struct.pack(f"{form.order}HI", 42, at)
    )
    count = struct.pack(form.order + ("Q" if form.is_big else "H"), len(tags))
    return head + pixels + count + entries + bytes(word) + longs

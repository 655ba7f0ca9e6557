"""What blocks stand for, as float32. For GGUF's types: the arithmetic of ggml, operation by operation.

Letters: n blocks. A block is a row of bytes; fields are cut out of it in the order of ggml's structs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from foveal.layers.linear import own_blocks
from foveal.layers.linear.block_types import BY_NAME

ROWS_AT_ONCE = 1024  # of a matrix: what their unpacking takes in memory besides the result
TABLE = torch.tensor([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=torch.float32)


def unpacked(kind: str, stored: Tensor) -> Tensor:
    """uint8 [rows, bytes] of a type of blocks -> float32 [rows, weights]"""
    sizes, decode = BY_NAME[kind], (DECODERS | own_blocks.DECODERS)[kind]
    rows = [
        decode(part.reshape(-1, sizes.block_bytes)).reshape(len(part), -1) for part in torch.split(stored, ROWS_AT_ONCE)
    ]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


# --- fields -----------------------------------------------------------------------------------------------------------


def _half(field_n2: Tensor) -> Tensor:
    """[n, 2] -> float32 [n, 1]"""
    return field_n2.contiguous().view(torch.float16).float()


def _shifted(field: Tensor, shifts: range, mask: int) -> Tensor:
    """Parts of bytes: [n, b] -> [n, shifts, b]"""
    return field[:, None, :] >> torch.tensor([*shifts], dtype=torch.uint8)[:, None] & mask


def _nibbles(field: Tensor, width: int) -> Tensor:
    """Of each `width` bytes the low ones, then the high ones: [n, b] -> [n, 2 b]"""
    return _shifted(field.reshape(-1, width), range(0, 8, 4), 15).reshape(len(field), -1)


def _bits(field_n4: Tensor) -> Tensor:
    """[n, 4] -> [n, 32], the lowest of each byte first"""
    return (field_n4[:, :, None] >> torch.arange(8, dtype=torch.uint8) & 1).flatten(1)


def _high_bits(field: Tensor, shifts: range, mask: int) -> Tensor:
    """Of each 32 bytes their parts, one after the other: [n, b] -> [n, shifts b]"""
    return _shifted(field.reshape(-1, 32), shifts, mask).reshape(len(field), -1)


def _scaled(factors: Tensor, numbers: Tensor, minima: Tensor | None = None) -> Tensor:
    """factor number - minimum, each for as many numbers as there are for one: [n, f], [n, weights] -> [n, weights]"""
    groups = numbers.float().reshape(*factors.shape, -1)
    scaled = factors[..., None] * groups
    return (scaled if minima is None else scaled - minima[..., None]).flatten(1)


# --- blocks of 32 -----------------------------------------------------------------------------------------------------


def _q4_0(b: Tensor) -> Tensor:
    return _half(b[:, :2]) * (_nibbles(b[:, 2:], 16).float() - 8)


def _q4_1(b: Tensor) -> Tensor:
    return _half(b[:, :2]) * _nibbles(b[:, 4:], 16).float() + _half(b[:, 2:4])


def _q5_0(b: Tensor) -> Tensor:
    return _half(b[:, :2]) * ((_nibbles(b[:, 6:], 16) | _bits(b[:, 2:6]) << 4).float() - 16)


def _q5_1(b: Tensor) -> Tensor:
    return _half(b[:, :2]) * (_nibbles(b[:, 8:], 16) | _bits(b[:, 4:8]) << 4).float() + _half(b[:, 2:4])


def _q8_0(b: Tensor) -> Tensor:
    return _half(b[:, :2]) * b[:, 2:].view(torch.int8).float()


def _iq4_nl(b: Tensor) -> Tensor:
    return _half(b[:, :2]) * TABLE[_nibbles(b[:, 2:], 16).int()]


# --- blocks of 256 ----------------------------------------------------------------------------------------------------


def _q2_k(b: Tensor) -> Tensor:
    scale, minimum = _half(b[:, 80:82]), _half(b[:, 82:])
    numbers = _high_bits(b[:, 16:80], range(0, 8, 2), 3)
    return _scaled(scale * (b[:, :16] & 15).float(), numbers, minimum * (b[:, :16] >> 4).float())


def _q3_k(b: Tensor) -> Tensor:
    low = _shifted(b[:, 96:104], range(0, 8, 4), 15).flatten(1)
    high = _shifted(b[:, 104:108], range(0, 8, 2), 3).flatten(1)
    factors = (low | high << 4).float() - 32
    numbers = _high_bits(b[:, 32:96], range(0, 8, 2), 3) | _high_bits(b[:, :32], range(8), 1) << 2
    return _scaled(_half(b[:, 108:]) * factors, numbers.float() - 4)


def _factors(field_n12: Tensor) -> tuple[Tensor, Tensor]:
    """Q4_K's and Q5_K's, of 8 groups: for scales and for minima, float32 [n, 8] each."""
    scales, minima, rest = torch.split(field_n12, 4, dim=1)
    of_scales = torch.cat([scales & 63, rest & 15 | scales >> 2 & 48], 1)
    of_minima = torch.cat([minima & 63, rest >> 4 | minima >> 2 & 48], 1)
    return of_scales.float(), of_minima.float()


def _q4_k(b: Tensor) -> Tensor:
    factors, min_factors = _factors(b[:, 4:16])
    return _scaled(_half(b[:, :2]) * factors, _nibbles(b[:, 16:], 32), _half(b[:, 2:4]) * min_factors)


def _q5_k(b: Tensor) -> Tensor:
    factors, min_factors = _factors(b[:, 4:16])
    numbers = _nibbles(b[:, 48:], 32) | _high_bits(b[:, 16:48], range(8), 1) << 4
    return _scaled(_half(b[:, :2]) * factors, numbers, _half(b[:, 2:4]) * min_factors)


def _q6_k(b: Tensor) -> Tensor:
    numbers = _nibbles(b[:, :128], 64) | _high_bits(b[:, 128:192], range(0, 8, 2), 3) << 4
    return _scaled(_half(b[:, 208:]) * b[:, 192:208].view(torch.int8).float(), numbers.float() - 32)


def _iq4_xs(b: Tensor) -> Tensor:
    high_bits = b[:, 2:4].contiguous().view(torch.int16).int() >> torch.arange(0, 16, 2) & 3
    low = (b[:, 4:8, None] >> torch.tensor([0, 4], dtype=torch.uint8) & 15).flatten(1)
    factors = (low.int() | high_bits << 4).float() - 32
    return _scaled(_half(b[:, :2]) * factors, TABLE[_nibbles(b[:, 8:], 16).int()])


DECODERS: dict[str, Callable[[Tensor], Tensor]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "IQ4_NL": _iq4_nl,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_XS": _iq4_xs,
}

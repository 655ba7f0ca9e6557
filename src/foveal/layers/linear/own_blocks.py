"""Blocks of 32 numbers for quantised files whose numbers no type of GGUF holds: how they are made, and what they mean.

Their layout is told in native/blocks.h. Letters: n rows, G groups of 32 in a row, P 16 bytes with two numbers each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

GROUP = 32
LARGEST_F8 = 448.0
STEPS_F8 = 8  # in one: numbers are rounded to multiples of 1/8
E2M1_HALVES = torch.tensor([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], dtype=torch.int8)
NF4 = torch.tensor(  # bitsandbytes: quantiles of a normal distribution
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
        *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
        *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ]
)
NF4_STEPS = 5039  # of those with room enough for rows, that which rounds the table least


# --- made -------------------------------------------------------------------------------------------------------------


def f8(numbers: Tensor, scale_nG: Tensor) -> Tensor:
    """float8_e4m3fn [n, K] and a scale for each group -> uint8 [n, bytes]. A group is doubled while it fits."""
    values = numbers.float().view(len(numbers), -1, GROUP)
    most = values.abs().amax(-1)
    doubled = torch.where(most > 0, (LARGEST_F8 / most).log2().floor(), 0.0).exp2()
    codes = (values * doubled[..., None]).to(torch.float8_e4m3fn).view(torch.uint8)
    return torch.cat([_bytes_of(scale_nG / (doubled * STEPS_F8)), codes], -1).flatten(1)


def e2m1(places: Tensor, scale_nH: Tensor, factor: float) -> Tensor:
    """Places in E2M1's table [n, K], a scale for each half of a group, and one for all -> uint8 [n, bytes]

    Scales are of few digits (E4M3, E8M0), so both are whole multiples of one unit, unless one is 16 times the other.
    """
    halves = scale_nH.view(len(scale_nH), -1, 2)
    most = halves.amax(-1)
    unit = torch.where(most > 0, (most.log2().floor() - 7).exp2(), 1.0)
    factors = (halves / unit[..., None]).round().to(torch.uint8)
    return torch.cat([_bytes_of(unit * (factor / 2)), factors, _pairs(places)], -1).flatten(1)


def nf4(places: Tensor, scale_nG: Tensor) -> Tensor:
    """Places in NF4's table [n, K] -> uint8 [n, bytes]"""
    return torch.cat([_bytes_of(scale_nG / NF4_STEPS), _pairs(places)], -1).flatten(1)


def u4(numbers: Tensor, scale_nG: Tensor, zero_nG: Tensor) -> Tensor:
    """Numbers of 4 bits [n, K] and zero points; scales are rounded to half precision -> uint8 [n, bytes]"""
    zeros = torch.stack([zero_nG, torch.zeros_like(zero_nG)], -1).to(torch.uint8)
    return torch.cat([scale_nG.half()[..., None].view(torch.uint8), zeros, _pairs(numbers)], -1).flatten(1)


def _bytes_of(scale: Tensor) -> Tensor:
    return scale.float()[..., None].contiguous().view(torch.uint8)


def _pairs(numbers: Tensor) -> Tensor:
    """[n, K] -> uint8 [n, G, P]: the first 16 in the low bits, the others in the high ones."""
    low, high = numbers.to(torch.uint8).view(len(numbers), -1, GROUP).chunk(2, -1)
    return low | high << 4


# --- what they stand for ----------------------------------------------------------------------------------------------


def _scale(b: Tensor) -> Tensor:
    return b[:, :4].contiguous().view(torch.float32)


def _numbers(pairs: Tensor) -> Tensor:
    return torch.cat([pairs & 15, pairs >> 4], 1).int()


def _of_f8(b: Tensor) -> Tensor:
    return _scale(b) * (b[:, 4:].contiguous().view(torch.float8_e4m3fn).float() * STEPS_F8).round()


def _of_e2m1(b: Tensor) -> Tensor:
    numbers = E2M1_HALVES[_numbers(b[:, 6:])].float() * b[:, 4:6].float().repeat_interleave(16, 1)
    return _scale(b) * numbers


def _of_nf4(b: Tensor) -> Tensor:
    return _scale(b) * (NF4 * NF4_STEPS).round()[_numbers(b[:, 4:])]


def _of_u4(b: Tensor) -> Tensor:
    return b[:, :2].contiguous().view(torch.float16).float() * (_numbers(b[:, 4:]) - b[:, 2:3].int()).float()


DECODERS: dict[str, Callable[[Tensor], Tensor]] = {"F8": _of_f8, "E2M1": _of_e2m1, "NF4": _of_nf4, "U4": _of_u4}

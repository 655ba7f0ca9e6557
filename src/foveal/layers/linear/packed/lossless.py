"""A packed matrix in a form of the kernels that holds the same numbers and scales.

Letters: N outputs, K inputs, n some rows, G their groups of 32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from foveal.layers.linear import own_blocks
from foveal.layers.linear.quantised import Quantised, blocks, int8
from foveal.layers.native.products import BLOCK_BYTES, FORM_OF, GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from foveal.layers.linear.packed.grouped import Grouped

    Pack = Callable[[Grouped, slice], Tensor]  # some rows -> uint8 [n, bytes]

ROWS_AT_ONCE = 1024  # of a matrix: their unpacked numbers are what repacking takes in memory
INTEGERS = ("int4", "uint4", "int8")
HALF_ERROR = 2.0**-11  # of the largest scale: what half precision may lose of one


def lossless(packed: Grouped, bias: Tensor | None) -> Quantised | None:
    """None where no form holds it: in odd sizes, with other numbers, with scales beyond half precision."""
    bias = None if bias is None else bias.float()
    has_one_scale = packed.scale_NG.shape[1] == 1
    if packed.kind == "int8" and has_one_scale:
        return _by_output(packed, bias)
    if packed.kind in PACKERS and _fits(packed):
        return _in_blocks(packed, bias)
    return _by_output(packed, bias) if packed.kind in INTEGERS and has_one_scale else None


def _fits(packed: Grouped) -> bool:
    unit = GROUP // 2 if packed.kind == "e2m1" else GROUP
    if packed.shape[1] % GROUP or packed.group % unit:
        return False
    if packed.kind not in INTEGERS:
        return bool(packed.scale_NG.isfinite().all())
    error = (packed.scale_NG.half().float() - packed.scale_NG).abs()
    return bool(error.max() <= HALF_ERROR * packed.scale_NG.abs().max())


def _by_output(packed: Grouped, bias: Tensor | None) -> Quantised:
    weight = torch.cat([packed.values(rows).to(torch.int8) for rows in _rows(packed)])
    return int8(weight, packed.scale_NG[:, 0].contiguous(), bias, packed.dtype)


def _in_blocks(packed: Grouped, bias: Tensor | None) -> Quantised:
    name, pack = PACKERS[packed.kind]
    size_out, size_in = packed.shape
    weight = torch.empty(size_out, size_in // GROUP * BLOCK_BYTES[FORM_OF[name]], dtype=torch.uint8)
    for rows in _rows(packed):
        weight[rows] = pack(packed, rows)
    return blocks(FORM_OF[name], weight, bias, packed.dtype)


def _rows(packed: Grouped) -> Iterator[slice]:
    for start in range(0, packed.shape[0], ROWS_AT_ONCE):
        yield slice(start, start + ROWS_AT_ONCE)


def _scales(packed: Grouped, rows: slice) -> Tensor:
    """[n, G]"""
    return _of_groups(packed, packed.scale_NG[rows])


def _of_groups(packed: Grouped, numbers: Tensor, unit: int = GROUP) -> Tensor:
    """A number for each group of the file -> one for each `unit` inputs."""
    return numbers.repeat_interleave(packed.group // unit, 1)[:, : packed.shape[1] // unit]


# --- GGUF's types -----------------------------------------------------------------------------------------------------


def _q4_0(packed: Grouped, rows: slice) -> Tensor:
    low, high = (packed.values(rows) + 8).to(torch.uint8).view(-1, packed.shape[1] // GROUP, GROUP).chunk(2, -1)
    return torch.cat([_halves(packed, rows), low | high << 4], -1).flatten(1)


def _q8_0(packed: Grouped, rows: slice) -> Tensor:
    numbers = packed.values(rows).to(torch.int8).view(torch.uint8).view(-1, packed.shape[1] // GROUP, GROUP)
    return torch.cat([_halves(packed, rows), numbers], -1).flatten(1)


def _halves(packed: Grouped, rows: slice) -> Tensor:
    """uint8 [n, G, 2]"""
    return _scales(packed, rows).half()[..., None].contiguous().view(torch.uint8)


# --- our own ----------------------------------------------------------------------------------------------------------


def _u4(packed: Grouped, rows: slice) -> Tensor:
    assert packed.zero_NG is not None
    return own_blocks.u4(packed.numbers(rows), _scales(packed, rows), _of_groups(packed, packed.zero_NG[rows]))


def _f8(packed: Grouped, rows: slice) -> Tensor:
    return own_blocks.f8(packed.numbers(rows), _scales(packed, rows))


def _e2m1(packed: Grouped, rows: slice) -> Tensor:
    return own_blocks.e2m1(packed.numbers(rows), _of_groups(packed, packed.scale_NG[rows], GROUP // 2), packed.factor)


def _nf4(packed: Grouped, rows: slice) -> Tensor:
    return own_blocks.nf4(packed.numbers(rows), _scales(packed, rows))


PACKERS: dict[str, tuple[str, Pack]] = {
    "int4": ("Q4_0", _q4_0),
    "uint4": ("U4", _u4),
    "int8": ("Q8_0", _q8_0),
    "float8": ("F8", _f8),
    "e2m1": ("E2M1", _e2m1),
    "nf4": ("NF4", _nf4),
}

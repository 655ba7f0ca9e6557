"""A packed matrix: numbers of few bits, and scales that groups of them share.

Numbers are unpacked a few rows at a time, so that no whole matrix of floats is ever made of them.
Letters: N outputs, K inputs, G groups in a row, n some rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from foveal.layers.linear.quantised import Quantised, blocks, int8
from foveal.layers.native.products import BLOCK_BYTES, GROUP, Q4_0, Q8_0

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from foveal.layers.linear.form import Linear

ROWS_AT_ONCE = 1024  # of a matrix: their unpacked numbers are what repacking takes in memory

Kind = Literal["int4", "int8", "float8", "other"]
"""What the numbers are: integers from -8 to 7 or from -128 to 127, float8_e4m3fn, or other numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """Fulfils `form.Packed`."""

    shape: tuple[int, int]  # N, K
    dtype: torch.dtype  # of the model that is loaded, as is its device
    device: torch.device
    kind: Kind
    numbers: Callable[[slice | Tensor], Tensor]  # of some rows [n, K], by their indices
    scale_NG: Tensor  # float32; the last group may be shorter
    group: int  # numbers of a row that share a scale
    inputs_K: Tensor | None = None  # which input each number multiplies, if that is not the one at its own place

    def rows(self, rows: slice | Tensor) -> Tensor:
        """The weights of some outputs, in float32 [n, K]."""
        scale = self.scale_NG[rows].repeat_interleave(self.group, 1)[:, : self.shape[1]]
        weights = (self.numbers(rows).float() * scale).to(self.device)
        if self.inputs_K is None:
            return weights
        ordered = torch.empty_like(weights)
        ordered[:, self.inputs_K] = weights
        return ordered

    def linear(self, bias: Tensor | None) -> Linear | None:
        product = lossless(self, bias)
        return product if product is None or self.inputs_K is None else Reordered(product, self.inputs_K)


@dataclass(frozen=True, slots=True, eq=False)
class Reordered:
    """A product whose weights lie in another order than its inputs."""

    product: Quantised
    inputs_K: Tensor

    @property
    def in_features(self) -> int:
        return self.product.in_features

    @property
    def out_features(self) -> int:
        return self.product.out_features

    @property
    def dtype(self) -> torch.dtype:
        return self.product.dtype

    def __call__(self, x: Tensor) -> Tensor:
        return self.product(x[..., self.inputs_K])


def lossless(packed: Grouped, bias: Tensor | None) -> Quantised | None:
    """The same numbers and scales in a form of the kernels; None where they have none for them."""
    bias, size_in = None if bias is None else bias.float(), packed.shape[1]
    is_half = torch.equal(packed.scale_NG.half().float(), packed.scale_NG)
    if packed.kind not in ("int4", "int8"):
        return None
    has_one_scale = packed.scale_NG.shape[1] == 1
    if is_half and packed.group % GROUP == 0 == size_in % GROUP and (packed.kind == "int4" or not has_one_scale):
        return in_blocks(packed, Q4_0 if packed.kind == "int4" else Q8_0, bias)
    if has_one_scale:
        weight = torch.cat([piece.to(torch.int8) for piece in _pieces(packed)])
        return int8(weight, packed.scale_NG[:, 0].contiguous(), bias, packed.dtype)
    return None


def in_blocks(packed: Grouped, form: int, bias: Tensor | None) -> Quantised:
    size_out, size_in = packed.shape
    weight = torch.empty(size_out, size_in // GROUP, BLOCK_BYTES[form], dtype=torch.uint8)
    for start in range(0, size_out, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        numbers = packed.numbers(rows).to(torch.int8)
        numbers = numbers.view(len(numbers), -1, GROUP)
        scale = packed.scale_NG[rows].half().repeat_interleave(packed.group // GROUP, 1)[:, : size_in // GROUP]
        weight[rows, :, :2] = scale[..., None].view(torch.uint8)
        if form == Q4_0:
            low, high = (numbers + 8).view(torch.uint8).chunk(2, -1)
            weight[rows, :, 2:] = low | high << 4
        else:
            weight[rows, :, 2:] = numbers.view(torch.uint8)
    return blocks(form, weight.flatten(1), bias, packed.dtype)


def _pieces(packed: Grouped) -> Iterator[Tensor]:
    for start in range(0, packed.shape[0], ROWS_AT_ONCE):
        yield packed.numbers(slice(start, start + ROWS_AT_ONCE))


def exponents(stored: Tensor) -> Tensor:
    """Powers of two, stored as bytes (E8M0)."""
    return torch.exp2(stored.float() - 127)


def scaled(size_out: int, scale: Tensor) -> Tensor:
    """A scale for the whole matrix or for each output, as a group for each row: float32 [N, 1]"""
    return scale.float().reshape(-1, 1).expand(size_out, 1)

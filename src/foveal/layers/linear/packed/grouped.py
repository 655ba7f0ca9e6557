"""A packed matrix: numbers of few bits, and scales that groups of them share.

Numbers are unpacked a few rows at a time, so that no whole matrix of floats is ever made of them.
Letters: N outputs, K inputs, G groups in a row, n some rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from foveal.layers.linear.packed.lossless import lossless

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.layers.linear.form import Linear
    from foveal.layers.linear.quantised import Quantised

Kind = Literal["int4", "uint4", "int8", "float8", "e2m1", "nf4", "other"]
"""What the numbers are: integers that are, less their zero points, from -8 to 7, from -15 to 15 or from -128 to 127;
float8_e4m3fn; places in the table of E2M1 or NF4; others."""


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
    zero_NG: Tensor | None = None  # int16: what is taken from a group's numbers before they are scaled
    table: Tensor | None = None  # what the numbers are places in
    factor: float = 1.0  # of all scales
    inputs_K: Tensor | None = None  # which input each number multiplies, if that is not the one at its own place

    def values(self, rows: slice | Tensor) -> Tensor:
        """What is scaled [n, K]."""
        numbers = self.numbers(rows)
        if self.table is not None:
            return self.table[numbers]
        return numbers if self.zero_NG is None else numbers - self._spread(self.zero_NG[rows])

    def rows(self, rows: slice | Tensor) -> Tensor:
        """The weights of some outputs, in float32 [n, K]."""
        weights = (self.values(rows).float() * self._spread(self.scale_NG[rows] * self.factor)).to(self.device)
        if self.inputs_K is None:
            return weights
        ordered = torch.empty_like(weights)
        ordered[:, self.inputs_K] = weights
        return ordered

    @property
    def is_mapped(self) -> bool:
        return False

    def linear(self, bias: Tensor | None) -> Linear | None:
        product = lossless(self, bias)
        return product if product is None or self.inputs_K is None else Reordered(product, self.inputs_K)

    def _spread(self, of_groups: Tensor) -> Tensor:
        """[n, G] -> [n, K]"""
        return of_groups.repeat_interleave(self.group, 1)[:, : self.shape[1]]


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


def exponents(stored: Tensor) -> Tensor:
    """Powers of two, stored as bytes (E8M0)."""
    return torch.exp2(stored.float() - 127)


def scaled(size_out: int, scale: Tensor) -> Tensor:
    """A scale for the whole matrix or for each output, as a group for each row: float32 [N, 1]"""
    return scale.float().reshape(-1, 1).expand(size_out, 1)

"""A matrix in fewer bits: int8 with a scale for each output, or blocks of 32 or 256 weights as they lie in GGUF files.

Activations are rounded to int16, each row by its own largest number, and integers are summed exactly. So an output
depends on its own row alone: prefill, decoding and a resumed stream compute the same numbers (decision 027).

Letters: N outputs, K inputs, T rows.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Protocol

import torch

from foveal.layers.linear.block_types import BY_NAME
from foveal.layers.linear.blocks import unpacked
from foveal.layers.native import library as native
from foveal.layers.native import products
from foveal.layers.native.library import library
from foveal.layers.native.products import INT8, MAX_ROUNDED, MAX_ROUNDED_OF, MAX_SUM, TYPE_OF

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from foveal.layers.linear.form import Matrix

ROWS_AT_ONCE = 4096  # of a matrix: their copies in int16 are what a limit takes in memory

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """x W^T + b. Its fields are those of the native struct (layers/native/quantised.h)."""

    form: int  # INT8, or that of blocks
    weight: Tensor  # int8 [N, K], or blocks: uint8 [N, bytes]
    scale: Tensor | None  # float32 [N] of INT8
    bias: Tensor | None  # float32 [N]
    in_features: int
    dtype: torch.dtype
    limit: int = MAX_ROUNDED  # of a rounded activation
    struct: native.Matrix = field(init=False)

    def __post_init__(self) -> None:
        struct = native.Matrix(
            weight=self.weight.data_ptr(),
            scale=None if self.scale is None else self.scale.data_ptr(),
            bias=None if self.bias is None else self.bias.data_ptr(),
            out=self.out_features,
            in_=self.in_features,
            form=self.form,
            limit=self.limit,
        )
        object.__setattr__(self, "struct", struct)

    @property
    def out_features(self) -> int:
        return self.weight.shape[0]

    def __call__(self, x: Tensor) -> Tensor:
        y = _by_torch(self, x.float()) if library() is None else products.multiply(self.struct, x)
        return y.to(self.dtype)


class Table(Protocol):
    """What rows are looked up in."""

    @property
    def in_features(self) -> int: ...

    @property
    def out_features(self) -> int: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def rows(self, ids: Tensor) -> Tensor:
        """int64 [...] -> [..., in_features]"""


@dataclass(frozen=True, slots=True, eq=False)
class QuantisedEmbedding:
    """Rows are looked up as they were published; products are quantised."""

    table: Table
    product: Quantised

    @property
    def in_features(self) -> int:
        return self.table.in_features

    @property
    def out_features(self) -> int:
        return self.table.out_features

    @property
    def dtype(self) -> torch.dtype:
        return self.table.dtype

    def __call__(self, x: Tensor) -> Tensor:
        return self.product(x)

    def rows(self, ids: Tensor) -> Tensor:
        return self.table.rows(ids)


def int8(weight_NK: Tensor, scale_N: Tensor, bias_N: Tensor | None, dtype: torch.dtype) -> Quantised:
    """The form with a scale for each output. Activations keep as many bits as no sum of theirs can exceed int32."""
    sums = [
        part.short().abs().sum(1).max() for part in torch.split(weight_NK, ROWS_AT_ONCE)
    ]  # -128 has no magnitude in int8
    limit = min(MAX_ROUNDED, MAX_SUM // max(int(max(sums)), 1))
    return Quantised(INT8, weight_NK, scale_N, bias_N, weight_NK.shape[1], dtype, limit)


def blocks(form: int, weight: Tensor, bias_N: Tensor | None, dtype: torch.dtype) -> Quantised:
    """A form in blocks: uint8 [N, bytes], as in a GGUF file."""
    kind = BY_NAME[TYPE_OF[form]]
    size_in = weight.shape[1] // kind.block_bytes * kind.block_weights
    return Quantised(form, weight, None, bias_N, size_in, dtype, MAX_ROUNDED_OF.get(form, MAX_ROUNDED))


def joined(parts: Sequence[Quantised]) -> Quantised:
    """Matrices of one form as one: its rows are theirs, one after another."""
    first = parts[0]
    scales, biases = [part.scale for part in parts], None
    if any(part.bias is not None for part in parts):
        biases = torch.cat([torch.zeros(p.out_features) if p.bias is None else p.bias for p in parts])
    return Quantised(
        first.form,
        torch.cat([part.weight for part in parts]),
        torch.cat([scale for scale in scales if scale is not None]) if first.scale is not None else None,
        biases,
        first.in_features,
        first.dtype,
        min(part.limit for part in parts),
    )


def joined_bias(matrices: tuple[Matrix, ...]) -> Tensor | None:
    """The biases of matrices whose outputs are joined, 0 where one has none; None where none has."""
    if all(matrix.bias is None for matrix in matrices):
        return None
    return torch.cat([torch.zeros(len(m.weight)) if m.bias is None else m.bias.float() for m in matrices])


def dequantised(matrix: Quantised) -> Tensor:
    """float32 [N, K]"""
    if matrix.form == INT8:
        assert matrix.scale is not None
        return matrix.weight.float() * matrix.scale[:, None]
    return unpacked(TYPE_OF[matrix.form], matrix.weight)


def _by_torch(matrix: Quantised, x: Tensor) -> Tensor:
    """The same product without native code: the weights are widened at each call."""
    _say_that_it_is_slow()
    most = x.abs().amax(-1, keepdim=True)
    limit = torch.tensor(float(matrix.limit))  # a plain number would be multiplied with the inverse: rounded twice
    rounded = (x * torch.where(most < 1e-30, 0.0, limit / most)).round() * torch.where(most < 1e-30, 0.0, most / limit)
    return torch.nn.functional.linear(rounded, dequantised(matrix), matrix.bias)


@cache
def _say_that_it_is_slow() -> None:
    log.warning(
        "quantised weights without native code are slow: set engine.quantization to none, or install a C compiler"
    )

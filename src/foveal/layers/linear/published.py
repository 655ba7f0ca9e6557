"""The published form: a matrix of a quantised file keeps the file's numbers.

Where the kernels know a form that holds these numbers without loss, it is taken. Other matrices stay in the file as
they are, and each product unpacks some rows at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from foveal.layers.linear.form import Matrix, PackedMatrix
from foveal.layers.linear.plain import Plain, SideBySide
from foveal.layers.linear.quantised import Quantised, QuantisedEmbedding, joined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from foveal.layers.linear.form import Embedding, Linear, Packed

ROWS_AT_ONCE = 1024  # of a matrix: their float32 copies are what unpacking takes in memory


@dataclass(frozen=True, slots=True, eq=False)
class Unpacking:
    """x W^T + b, whose weights are unpacked at each call; an `Embedding` as well."""

    packed: Packed
    bias: Tensor | None

    @property
    def in_features(self) -> int:
        return self.packed.shape[1]

    @property
    def out_features(self) -> int:
        return self.packed.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        return self.packed.dtype

    def __call__(self, x: Tensor) -> Tensor:
        x = x.float()
        y = torch.cat([F.linear(x, rows) for rows in pieces(self.packed)], -1)
        return (y if self.bias is None else y + self.bias.float()).to(self.dtype)

    def rows(self, ids: Tensor) -> Tensor:
        return self.packed.rows(ids.flatten()).to(self.dtype).view(*ids.shape, self.in_features)


def pieces(packed: Packed) -> Iterator[Tensor]:
    """Its weights in float32, some rows at a time."""
    for start in range(0, packed.shape[0], ROWS_AT_ONCE):
        yield packed.rows(slice(start, start + ROWS_AT_ONCE))


def unpacked(matrix: Matrix | PackedMatrix) -> Matrix:
    """The weights as numbers of the model's dtype."""
    if isinstance(matrix, Matrix):
        return matrix
    whole: Tensor | None = None
    at = 0
    for piece in pieces(matrix.packed):
        whole = piece.new_empty(matrix.shape, dtype=matrix.dtype) if whole is None else whole
        whole[at : at + len(piece)] = piece
        at += len(piece)
    assert whole is not None
    return Matrix(whole, matrix.bias)


def linear(matrices: tuple[Matrix | PackedMatrix, ...]) -> Linear:
    """Parts become one matrix where they have one form and are no longer in the file."""
    parts = tuple(map(_part, matrices))
    quantised = [part for part in parts if isinstance(part, Quantised)]
    is_mapped = any(isinstance(matrix, PackedMatrix) and matrix.packed.is_mapped for matrix in matrices)
    if (
        len(parts) > 1
        and not is_mapped
        and len(quantised) == len(parts)
        and len({part.form for part in quantised}) == 1
    ):
        return joined(quantised)
    return parts[0] if len(parts) == 1 else SideBySide(parts)


def _part(matrix: Matrix | PackedMatrix) -> Linear:
    if isinstance(matrix, Matrix):
        return Plain(matrix)
    return matrix.packed.linear(matrix.bias) or Unpacking(matrix.packed, matrix.bias)


def embedding(matrix: PackedMatrix, is_head: bool) -> Embedding:
    """Rows are unpacked as they are looked up."""
    table = Unpacking(matrix.packed, matrix.bias)
    product = linear((matrix,)) if is_head else table
    return QuantisedEmbedding(table, product) if isinstance(product, Quantised) else table

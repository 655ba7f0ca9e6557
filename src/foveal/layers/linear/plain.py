"""The plain form: a matrix as stored. It stays in the mapped file if dtype and device are the model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from foveal.layers.linear.form import Form, Matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from foveal.layers.linear.form import Linear


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """One matrix; an `Embedding` as well."""

    matrix: Matrix

    @property
    def in_features(self) -> int:
        return self.matrix.weight.shape[1]

    @property
    def out_features(self) -> int:
        return self.matrix.weight.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        return self.matrix.weight.dtype

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.matrix.weight, self.matrix.bias)

    def rows(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.matrix.weight)


@dataclass(frozen=True, slots=True, eq=False)
class SideBySide:
    """Several matrices that were stored separately. They are not joined, since that would copy mapped weights."""

    parts: tuple[Linear, ...]

    @property
    def in_features(self) -> int:
        return self.parts[0].in_features

    @property
    def out_features(self) -> int:
        return sum(part.out_features for part in self.parts)

    @property
    def dtype(self) -> torch.dtype:
        return self.parts[0].dtype

    def __call__(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.parts], dim=-1)


def linear(matrices: tuple[Matrix, ...]) -> Linear:
    parts = tuple(map(Plain, matrices))
    return parts[0] if len(parts) == 1 else SideBySide(parts)


def plain_parts(linear: Linear, shares: Sequence[int] = (1,)) -> Sequence[tuple[Tensor, Tensor | None]] | None:
    """What a plain product multiplies by and adds, for code that reads weights where they lie; None for other forms.

    shares: how the outputs are divided, where one matrix holds what others store apart.
    """
    match linear:
        case SideBySide():
            plain = [part for part in linear.parts if isinstance(part, Plain)]
            return [(p.matrix.weight, p.matrix.bias) for p in plain] if len(plain) == len(linear.parts) else None
        case Plain():
            sizes = [share * linear.out_features // sum(shares) for share in shares]
            weights, bias = torch.split(linear.matrix.weight, sizes), linear.matrix.bias
            return list(zip(weights, [None] * len(sizes) if bias is None else torch.split(bias, sizes), strict=True))
    return None


PLAIN = Form(linear, Plain)

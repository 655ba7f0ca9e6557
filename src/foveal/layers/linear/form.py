"""What a weight matrix is to the layers, whatever form it is kept in, and what a form must provide.

A form is how a matrix lies in memory and is multiplied: as published, or packed into fewer bits. Knows no form and no
file; `load` has the table of forms. Imports no torch at run time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Use = Literal["product", "lookup", "lookup and product"]


class Linear(Protocol):
    """x W^T + b, for one matrix or for several side by side."""

    @property
    def in_features(self) -> int: ...

    @property
    def out_features(self) -> int: ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the activations that it takes and gives."""

    def __call__(self, x: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]"""


class Embedding(Linear, Protocol):
    """A matrix whose rows are looked up; where embeddings are tied, it is the decoder's head as well."""

    def rows(self, ids: Tensor) -> Tensor:
        """int64 [...] -> [..., in_features]"""


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """One matrix of a checkpoint, as it is multiplied."""

    weight: Tensor  # [out_features, in_features]
    bias: Tensor | None = None  # [out_features]


class Form(NamedTuple):
    """How matrices of one form are made at load."""

    linear: Callable[[tuple[Matrix, ...]], Linear]  # several: the products of one input, side by side
    embedding: Callable[[Matrix], Embedding]


@dataclass(frozen=True, slots=True)
class MatrixFacts:
    """What a policy is told about a matrix, or about several side by side under the name that they have when fused."""

    name: str
    out_features: int
    in_features: int
    dtype: torch.dtype  # of the weights
    use: Use


Policy = Callable[[MatrixFacts], str]
"""Which form a matrix takes: a name in the table of forms. Pure."""


def all_plain(facts: MatrixFacts) -> str:
    """The policy that keeps every matrix as it is stored."""
    return "plain"

"""The interface of weight matrices for layers, and what a form must provide.

A form is how a matrix is kept in memory and multiplied: as published, or packed into fewer bits. Knows no form and no
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
Part = Literal["decoder layers", "the rest"]  # of a model: what is read for each token, and what is not or is the head


class Linear(Protocol):
    """x W^T + b, for one matrix or for several side by side."""

    @property
    def in_features(self) -> int: ...

    @property
    def out_features(self) -> int: ...

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its inputs and outputs."""

    def __call__(self, x: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]"""


class Embedding(Linear, Protocol):
    """A matrix whose rows are looked up. With tied embeddings it is the decoder's head, too."""

    def rows(self, ids: Tensor) -> Tensor:
        """int64 [...] -> [..., in_features]"""


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """One matrix of a checkpoint in the shape in which it is multiplied."""

    weight: Tensor  # [out_features, in_features]
    bias: Tensor | None = None  # [out_features]

    @property
    def shape(self) -> tuple[int, int]:
        return self.weight.shape[0], self.weight.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype


class Packed(Protocol):
    """A matrix as a quantised file holds it. It is unpacked some rows at a time."""

    @property
    def shape(self) -> tuple[int, int]:
        """[out_features, in_features]"""

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's activations."""

    def rows(self, rows: slice | Tensor) -> Tensor:
        """The weights of some outputs: float32 [n, in_features], on the model's device."""

    @property
    def is_mapped(self) -> bool:
        """Whether its product reads the numbers in the mapped file: to join it with others would copy them."""

    def linear(self, bias: Tensor | None) -> Linear | None:
        """Its product, in a form of the kernels that holds the file's numbers without loss; None where none does."""


@dataclass(frozen=True, slots=True, eq=False)
class PackedMatrix:
    """A matrix of a quantised file, and the bias that lies beside it."""

    packed: Packed
    bias: Tensor | None = None  # [out_features]

    @property
    def shape(self) -> tuple[int, int]:
        return self.packed.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.packed.dtype


class Form(NamedTuple):
    """How matrices of one form are made at load."""

    linear: Callable[[tuple[Matrix, ...]], Linear]  # of several, the outputs are joined on the last axis
    embedding: Callable[[Matrix], Embedding]


@dataclass(frozen=True, slots=True)
class MatrixFacts:
    """What a policy knows of a matrix, or of several that are fused in other checkpoints, under their fused name."""

    name: str
    out_features: int
    in_features: int
    dtype: torch.dtype  # of the weights
    use: Use
    part: Part = "the rest"
    is_packed: bool = False  # the file is quantised, and the matrix is packed in it


PUBLISHED = "published"  # the form of matrices that keep a quantised file's numbers

Policy = Callable[[MatrixFacts], str]
"""Chooses a matrix's form: returns its name in the table of forms. A pure function.

Packed matrices have the form PUBLISHED or are unpacked for another one.
"""


def all_plain(facts: MatrixFacts) -> str:
    """The policy that keeps every matrix as it is stored."""
    return "plain"

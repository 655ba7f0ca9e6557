"""Loads weight matrices: finds one by name, changes its shape to [out, in] and puts it into its form.

Everything in layers/ and models/ that multiplies by a matrix of the checkpoint, or looks rows up in one, gets it here.
So a new form is a file in this folder, an entry in FORMS and a policy that names it. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.layers.linear.form import Matrix, MatrixFacts, all_plain
from foveal.layers.linear.int4 import INT4
from foveal.layers.linear.int8 import INT8
from foveal.layers.linear.plain import PLAIN, Plain
from foveal.layers.linear.quantised import Quantised, QuantisedEmbedding

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from foveal.layers.linear.form import Embedding, Form, Linear, Part, Policy, Use
    from foveal.layers.linear.kept import KeptMatrices

FORMS: dict[str, Form] = {"plain": PLAIN, "int8": INT8, "int4": INT4}


@dataclass(frozen=True, slots=True)
class Weights(Mapping[str, "Tensor"]):
    """A checkpoint's tensors by name, and the policy that chooses the form of each matrix."""

    tensors: Mapping[str, Tensor]
    policy: Policy = all_plain
    part: Part = "the rest"  # of the model, that is loaded from it
    kept: KeptMatrices | None = None  # quantised matrices of an earlier start, and where this one's are kept

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


# --- how a matrix may be stored ---------------------------------------------------------------------------------------


def as_multiplied(stored: Tensor) -> Tensor:
    return stored


def transposed(stored: Tensor) -> Tensor:
    """[in, out] -> [out, in]"""
    return stored.T


def convolution(stored: Tensor) -> Tensor:
    """A convolution without overlap as a matrix that multiplies rows of pixels: [out, 3, P, P] -> [out, 3 P P]."""
    return stored.flatten(1)


def summed_frames(stored: Tensor) -> Tensor:
    """A convolution over frames, too, for an image as equal frames: [out, 3, frames, P, P] -> [out, 3 P P]."""
    return stored.sum(dim=2).flatten(1)


# --- loading ----------------------------------------------------------------------------------------------------------


def has_linear(weights: Weights, name: str) -> bool:
    return f"{name}.weight" in weights or name in weights


def load_linear(
    weights: Weights, name: str, separate: tuple[str, ...] = (), stored: Callable[[Tensor], Tensor] = as_multiplied
) -> Linear:
    """The matrix called `name`, with its bias where the checkpoint has one.

    separate: the names of its parts in checkpoints that store them separately, in the order of their outputs.
    stored: changes the stored tensor to [out, in].
    """
    if weights.kept and (found := weights.kept.get(name)):
        return found
    names = separate if separate and not has_linear(weights, name) else (name,)
    matrices = tuple(_read(weights, part, stored) for part in names)
    linear = _form(weights, name, matrices, "product").linear(matrices)
    if weights.kept and isinstance(linear, Quantised):
        weights.kept.add(name, linear)
    return linear


def load_embedding(weights: Weights, name: str, is_head: bool = False) -> Embedding:
    """The table called `name`. is_head: embeddings are tied, so the table is multiplied, too."""
    matrix = _read(weights, name, as_multiplied)
    if weights.kept and (found := weights.kept.get(name)):
        return QuantisedEmbedding(Plain(matrix), found)
    embedding = _form(weights, name, (matrix,), "lookup and product" if is_head else "lookup").embedding(matrix)
    if weights.kept and isinstance(embedding, QuantisedEmbedding):
        weights.kept.add(name, embedding.product)
    return embedding


def _read(weights: Weights, name: str, stored: Callable[[Tensor], Tensor]) -> Matrix:
    """`name`.weight and `name`.bias. A few checkpoints store the matrix as `name` itself (Gemma 3's projector)."""
    has_bias = f"{name}.bias" in weights
    weight = weights[name if name in weights else f"{name}.weight"]
    return Matrix(stored(weight), weights[f"{name}.bias"] if has_bias else None)


def _form(weights: Weights, name: str, matrices: tuple[Matrix, ...], use: Use) -> Form:
    first, out_features = matrices[0].weight, sum(matrix.weight.shape[0] for matrix in matrices)
    return FORMS[weights.policy(MatrixFacts(name, out_features, first.shape[1], first.dtype, use, weights.part))]

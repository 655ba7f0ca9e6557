"""Loads weight matrices: finds one by name, changes its shape to [out, in] and puts it into its form.

Everything in layers/ and models/ that multiplies by a matrix of the checkpoint, or looks rows up in one, gets it here.
So a new form is a file in this folder, an entry in FORMS and a policy that names it. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

from foveal.errors import CheckpointError
from foveal.layers.linear import published
from foveal.layers.linear.form import PUBLISHED, Matrix, MatrixFacts, PackedMatrix, all_plain
from foveal.layers.linear.int4 import INT4
from foveal.layers.linear.int8 import INT8
from foveal.layers.linear.mapped import DTYPES, MappedMatrix
from foveal.layers.linear.plain import PLAIN, Plain
from foveal.layers.linear.published import Unpacking, unpacked
from foveal.layers.linear.quantised import Quantised, QuantisedEmbedding

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.layers.linear.form import Embedding, Form, Linear, Packed, Part, Policy, Use
    from foveal.layers.linear.kept import KeptMatrices

FORMS: dict[str, Form] = {"plain": PLAIN, "int8": INT8, "int4": INT4}
KINDS = {dtype: kind for kind, dtype in DTYPES.items()}
WEIGHTS = ("weight", "qweight", "weight_packed")  # the names that formats give a matrix's numbers


@dataclass(frozen=True, slots=True)
class Weights(Mapping[str, "Tensor"]):
    """A checkpoint's tensors by name, and the policy that chooses the form of each matrix."""

    tensors: Mapping[str, Tensor]
    policy: Policy = all_plain
    part: Part = "the rest"  # of the model, that is loaded from it
    kept: KeptMatrices | None = None  # quantised matrices of an earlier start, and where this one's are kept
    packed: Callable[[str], Packed | None] | None = None  # in a quantised file: the matrix of a name; None: it is plain

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


@runtime_checkable
class InFile(Protocol):
    """Tensors of mapped files."""

    dtype: torch.dtype  # of the model that is loaded, as is its device
    device: torch.device

    def stored(self, name: str) -> Tensor:
        """As it lies in the file."""


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
    return name in weights or any(f"{name}.{ending}" in weights for ending in WEIGHTS)


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
    if len({matrix.shape[1] for matrix in matrices}) > 1:
        raise CheckpointError(f"{', '.join(names)} have different numbers of inputs; the weights are damaged")
    linear = _linear(weights, name, matrices)
    if weights.kept and isinstance(linear, Quantised):
        weights.kept.add(name, linear)
    return linear


def load_embedding(weights: Weights, name: str, is_head: bool = False) -> Embedding:
    """The table called `name`. is_head: embeddings are tied, so the table is multiplied, too."""
    matrix = _read(weights, name, as_multiplied)
    if weights.kept and (found := weights.kept.get(name)):
        table = Plain(matrix) if isinstance(matrix, Matrix) else Unpacking(matrix.packed, matrix.bias)
        return QuantisedEmbedding(table, found)
    chosen = _choice(weights, name, (matrix,), "lookup and product" if is_head else "lookup")
    if chosen == PUBLISHED and isinstance(matrix, PackedMatrix):
        embedding = published.embedding(matrix, is_head)
    else:
        embedding = FORMS[chosen].embedding(unpacked(matrix))
    if weights.kept and isinstance(embedding, QuantisedEmbedding):
        weights.kept.add(name, embedding.product)
    return embedding


def load_table(weights: Weights, name: str) -> Embedding:
    """A table of lookups, which may be larger than all else of a model. On a CPU it stays in the file as it is."""
    tensors, of_table = weights.tensors, f"{name}.weight"
    is_packed = weights.packed is not None and weights.packed(name) is not None
    if is_packed or not isinstance(tensors, InFile) or tensors.device.type != "cpu" or of_table not in weights:
        return load_embedding(weights, name)
    stored = tensors.stored(of_table)
    if stored.dim() != 2 or stored.dtype not in KINDS:
        return load_embedding(weights, name)
    return Unpacking(MappedMatrix(KINDS[stored.dtype], stored.view(torch.uint8), tensors.dtype, tensors.device), None)


def _linear(weights: Weights, name: str, matrices: tuple[Matrix | PackedMatrix, ...]) -> Linear:
    chosen = _choice(weights, name, matrices, "product")
    return published.linear(matrices) if chosen == PUBLISHED else FORMS[chosen].linear(tuple(map(unpacked, matrices)))


def _read(weights: Weights, name: str, stored: Callable[[Tensor], Tensor]) -> Matrix | PackedMatrix:
    """`name`.weight and `name`.bias. A few checkpoints store the matrix as `name` itself (Gemma 3's projector)."""
    bias = weights[f"{name}.bias"] if f"{name}.bias" in weights else None  # noqa: SIM401 # a missing one is an error
    if weights.packed and (packed := weights.packed(name)):
        if stored is not as_multiplied:
            raise CheckpointError(f"{name} is quantised, which is implemented for plain matrices only")
        return PackedMatrix(packed, bias)
    weight = stored(weights[name if name in weights else f"{name}.weight"])
    if weight.dim() != 2 or not weight.is_floating_point():
        kind = str(weight.dtype).removeprefix("torch.")
        raise CheckpointError(f"{name} is of {kind} with the shape {list(weight.shape)}; it must be a matrix of floats")
    return Matrix(weight, bias)


def _choice(weights: Weights, name: str, matrices: tuple[Matrix | PackedMatrix, ...], use: Use) -> str:
    """The name of their form."""
    out_features, in_features = sum(matrix.shape[0] for matrix in matrices), matrices[0].shape[1]
    is_packed = any(isinstance(matrix, PackedMatrix) for matrix in matrices)
    return weights.policy(MatrixFacts(name, out_features, in_features, matrices[0].dtype, use, weights.part, is_packed))

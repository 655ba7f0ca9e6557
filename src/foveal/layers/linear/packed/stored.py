"""The tensors of one matrix in a quantised file, checked as they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from foveal.errors import CheckpointError
from foveal.layers.linear.packed.grouped import Grouped

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from foveal.layers.linear.packed.grouped import Kind


class StoredTensors(Protocol):
    """A checkpoint's tensors as they lie in its files."""

    def __contains__(self, name: object) -> bool: ...

    def stored(self, name: str) -> Tensor:
        """Without a change of dtype or device."""

    def place(self, name: str) -> str:
        """The file that holds it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The tensors whose names begin with a matrix's."""

    tensors: StoredTensors
    name: str
    dtype: torch.dtype  # of the model that is loaded, as is its device
    device: torch.device

    def has(self, ending: str) -> bool:
        return f"{self.name}.{ending}" in self.tensors

    def read(self, ending: str, *dtypes: torch.dtype, shape: tuple[int, ...] | None = None) -> Tensor:
        """One of these dtypes and of this shape, or the file is broken."""
        if not self.has(ending):
            raise self.broken(ending, "is missing")
        tensor = self.tensors.stored(f"{self.name}.{ending}")
        if dtypes and tensor.dtype not in dtypes:
            raise self.broken(ending, f"is of {_name(tensor.dtype)}, not of {' or '.join(map(_name, dtypes))}")
        if shape is not None and tensor.shape != shape:
            raise self.broken(ending, f"has the shape {list(tensor.shape)}, not {list(shape)}")
        return tensor

    def matrix(self, ending: str, *dtypes: torch.dtype) -> Tensor:
        """With two axes, and something in it."""
        tensor = self.read(ending, *dtypes)
        if tensor.dim() != 2 or not tensor.numel():
            raise self.broken(ending, f"has the shape {list(tensor.shape)}, which is no matrix's")
        return tensor

    def grouped(
        self,
        shape: tuple[int, int],
        kind: Kind,
        numbers: Callable[[slice | Tensor], Tensor],
        scale_NG: Tensor,
        group: int,
        zero_NG: Tensor | None = None,
        table: Tensor | None = None,
        factor: float = 1.0,
        inputs_K: Tensor | None = None,
    ) -> Grouped:
        for what, numbers_of in (("scales", scale_NG * factor), ("values", table)):
            if numbers_of is not None and not numbers_of.isfinite().all():
                raise self.broken("weight", f"has {what} that are no finite numbers")
        return Grouped(shape, self.dtype, self.device, kind, numbers, scale_NG, group, zero_NG, table, factor, inputs_K)

    def broken(self, ending: str, why: str) -> CheckpointError:
        name = f"{self.name}.{ending}"
        file = self.tensors.place(name if name in self.tensors else self.name)
        return CheckpointError(f"{file}: {name} {why}; download it again, or serve another quantisation")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


Reader = Callable[[Stored], Grouped | None]
"""Reads a matrix; None for one that the file does not quantise. Raises CheckpointError."""

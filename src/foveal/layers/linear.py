"""A product with a loaded weight: the one place where a weight matrix meets activations.

Everything in layers/ and models/ that multiplies by a matrix of the checkpoint does it through `Linear`, so that a
quantised form is a change to this file. Knows nothing of files: `tensors` is any mapping of names to tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """x W^T + b."""

    weight: Tensor  # [out, in]
    bias: Tensor | None = None  # [out]

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], name: str) -> Linear:
        """`name`.weight and, where the checkpoint has it, `name`.bias."""
        has_bias = f"{name}.bias" in tensors
        return cls(tensors[f"{name}.weight"], tensors[f"{name}.bias"] if has_bias else None)

    def __call__(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]"""
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Several products with one input, their results side by side: stored as one matrix or as several.

    Several are not made one at load, since that would copy mapped weights into memory.
    """

    parts: tuple[Linear, ...]

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], fused: str, separate: tuple[str, ...]) -> Joined:
        """The matrix called `fused` where the checkpoint has it, otherwise those called `separate`, in order."""
        names = (fused,) if f"{fused}.weight" in tensors else separate
        return cls(tuple(Linear.load(tensors, name) for name in names))

    def __call__(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., sum of out]"""
        outputs = [part(x) for part in self.parts]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)

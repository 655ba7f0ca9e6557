"""A product with a loaded weight: the one place where a weight matrix meets activations.

Everything in layers/ and models/ that multiplies by a matrix of the checkpoint does it through `Linear`, so that a
quantised form is a change to this file. Knows nothing of files: `tensors` is any mapping of names to tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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

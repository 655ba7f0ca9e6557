"""The normalisations of transformers, over the last axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class RMSNorm:
    """x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich, 2019); the mean is taken in float32."""

    weight: Tensor  # [width]
    eps: float

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], name: str, eps: float) -> RMSNorm:
        return cls(tensors[f"{name}.weight"], eps)

    def __call__(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]"""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def normed(x: Tensor, eps: float) -> Tensor:
    """RMSNorm without a weight: [..., width] -> [..., width]."""
    return F.rms_norm(x, x.shape[-1:], None, eps)


@dataclass(frozen=True, slots=True, eq=False)
class OffsetRMSNorm:
    """RMSNorm as Gemma stores it: the weight minus one. Computed in float32, since bfloat16 would round the sum."""

    weight: Tensor  # float32 [width], one added
    eps: float

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], name: str, eps: float) -> OffsetRMSNorm:
        return cls(1.0 + tensors[f"{name}.weight"].float(), eps)

    def __call__(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]"""
        return F.rms_norm(x.float(), self.weight.shape, self.weight, self.eps).to(x.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class LayerNorm:
    """(x - mean) / sqrt(variance + eps) * weight + bias (Ba, Kiros and Hinton, 2016)."""

    weight: Tensor  # [width]
    bias: Tensor  # [width]
    eps: float

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], name: str, eps: float) -> LayerNorm:
        return cls(tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps)

    def __call__(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]"""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


def load_norm(tensors: Mapping[str, Tensor], name: str, eps: float) -> LayerNorm | RMSNorm:
    """A LayerNorm where the checkpoint has a bias, otherwise an RMSNorm."""
    return (LayerNorm if f"{name}.bias" in tensors else RMSNorm).load(tensors, name, eps)

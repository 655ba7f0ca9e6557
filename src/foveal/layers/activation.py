"""Activation functions by their names in config.json files."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from foveal.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Activation = Callable[[Tensor], Tensor]


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's approximation of GELU."""
    return x * torch.sigmoid(1.702 * x)


def capped(logits: Tensor, cap: float | None) -> Tensor:
    """Bent to lie between -cap and cap, as Gemma's are; None: as they are."""
    return logits if cap is None else torch.tanh(logits / cap) * cap


ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": quick_gelu,
    "silu": F.silu,
}


def activation(name: str) -> Activation:
    """Raises CheckpointError for a name that is not known."""
    if name not in ACTIVATIONS:
        raise CheckpointError(f"the checkpoint's activation {name!r} is none of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]

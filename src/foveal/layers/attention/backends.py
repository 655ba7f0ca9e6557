"""Which backend computes attention on which device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.layers.attention.cpu import InPlace
from foveal.layers.attention.gathering import Gathering

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from foveal.layers.attention.batch import AttentionBackend

BACKENDS: dict[str, Callable[[torch.device], AttentionBackend]] = {"cpu": InPlace}


def attention_backend(device: torch.device) -> AttentionBackend:
    """A new backend for a model on `device`."""
    return BACKENDS.get(device.type, Gathering)(device)

"""Which backend computes attention over a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from foveal.layers.attention.cpu import InPlace
from foveal.layers.attention.gathering import Gathering
from foveal.layers.attention.native import Native
from foveal.layers.native.library import library, pool

if TYPE_CHECKING:
    from foveal.layers.attention.batch import AttentionBackend


def attention_backend(device: torch.device, dtype: torch.dtype) -> AttentionBackend:
    """A new backend for queries, keys and values of `dtype` on `device`."""
    if device.type != "cpu":
        return Gathering(device)
    found = library() if dtype == torch.float32 else None
    return Native(found, pool(torch.get_num_threads())) if found else InPlace(device)

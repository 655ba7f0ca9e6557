"""The records between a decoder and the engine: what it keeps of a sequence, positions, and the step context.

Knows nothing of images or scheduling. Imports no torch at run time.

Letters: T rows in the step, R position rows, W hidden width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from foveal.layers.attention.batch import Attend, AttentionBatch
    from foveal.layers.states import StepStates

AfterLayer: TypeAlias = "Callable[[int, Tensor], Tensor]"
"""(a layer's index, x_TW) -> x_TW: called after each layer of a decoder."""


class KVShape(NamedTuple):
    """The shape of one token's keys and values in the KV cache."""

    num_layers: int
    num_kv_heads: int
    head_dim: int


class StateShape(NamedTuple):
    """A state that each of some layers keeps of a sequence, whatever the sequence's length."""

    num_layers: int
    shape: tuple[int, ...]
    dtype: torch.dtype | None = None  # None: the model's

    def num_bytes(self, dtype: torch.dtype) -> int:
        """Of one sequence, for a model of `dtype`."""
        return self.num_layers * math.prod(self.shape) * (self.dtype or dtype).itemsize


@dataclass(frozen=True, slots=True)
class Positions:
    """Rotary positions of one sequence. Token t of the prompt is at prompt[:, t]; a generated one is at t + delta."""

    prompt: NDArray[np.int64]  # [rows, num_prompt_tokens]
    delta: int = 0
    variant: int = 0  # keys of different variants differ, so their sequences share no KV blocks


@dataclass(frozen=True, slots=True, eq=False)
class StepContext:
    """The step context: the facts of a step that all layers of a decoder may read. Made by the runner."""

    positions_RT: Tensor  # int64
    attention: AttentionBatch
    attends: Mapping[int | None, Attend]  # by the window of the layers
    kv_cache: Tensor  # [num_layers, 2, num_blocks, block_size, num_kv_heads, head_dim]
    after_layer: AfterLayer | None = None
    states: StepStates | None = None  # of a decoder that has state shapes
    token_ids_T: Tensor | None = None  # of a decoder whose layers look tokens up (Gemma 4)

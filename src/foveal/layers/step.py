"""What passes between a decoder and who runs it: what a token keeps, where tokens stand, and one step's context.

Knows nothing of images or scheduling. Imports no torch at run time.

Letters: T rows in the step, R position rows, W hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from foveal.layers.attention.batch import Attend, AttentionBatch

AfterLayer: TypeAlias = "Callable[[int, Tensor], Tensor]"
"""(a layer's index, x_TW) -> x_TW: what else happens behind a decoder's layer."""


class KVShape(NamedTuple):
    """What one token keeps in the KV cache."""

    num_layers: int
    num_kv_heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class Positions:
    """Rotary positions of one sequence. Token t of the prompt is at prompt[:, t]; a generated one is at t + delta."""

    prompt: NDArray[np.int64]  # [rows, num_prompt_tokens]
    delta: int = 0
    variant: int = 0  # sequences of different variants compute different keys and share no KV blocks


@dataclass(frozen=True, slots=True, eq=False)
class StepContext:
    """What the rows of a step have in common for all layers of a decoder. The runner makes one for each step."""

    positions_RT: Tensor  # int64
    attention: AttentionBatch
    attends: Mapping[int | None, Attend]  # by the window of the layers
    kv_cache: Tensor  # [num_layers, 2, num_blocks, block_size, num_kv_heads, head_dim]
    after_layer: AfterLayer | None = None

"""A step as attention sees it, and what a backend makes of it. Lists of the host: a backend makes the tensors it needs.

Knows nothing of models, sequences' contents or scheduling. Imports no torch at run time.

Letters: T rows in the step, S sequences, H query heads, K key-value heads, D head_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Attend: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]"
"""One layer's attention: (query_THD, key_TKD, value_TKD, kv_layer, scale) -> [T, H, D]. Writes the step's keys and
values into kv_layer [2, num_blocks, block_size, K, D]; a row sees the rows of its sequence up to and with itself, or
as the batch and the window say otherwise."""


@dataclass(frozen=True, slots=True)
class AttentionBatch:
    """Where a step's rows stand in their sequences and in the cache. Letters: T rows in the step, S sequences.

    Sequence i has rows query_start_loc[i]:query_start_loc[i + 1]; they are its last tokens, seq_lens[i] with them.
    What rows see is causal; two-way spans widen it, each of which lies whole among the step's rows or whole before
    them, and a layer's window narrows it.
    """

    query_start_loc: Sequence[int]  # S + 1
    seq_lens: Sequence[int]  # S
    block_tables: Sequence[Sequence[int]]  # S lists of block numbers
    slot_mapping: Sequence[int]  # T: block number * block_size + offset in the block, where each row's KV goes
    block_size: int
    two_way_spans: Sequence[Sequence[tuple[int, int]]] = ()  # per sequence: positions [begin, end) see one another


class AttentionBackend(Protocol):
    """Attention on one device. Made once; what it keeps between steps (buffers) is its own."""

    def plan(self, batch: AttentionBatch, windows: Sequence[int | None]) -> Mapping[int | None, Attend]:
        """A step's share of the work, done once: what then does a layer's share, for each of `windows`.

        A row sees so many tokens, itself included (sliding-window attention); None: all.
        """

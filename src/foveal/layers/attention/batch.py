"""The input of attention for one step, and the protocol of a backend.

The input is lists in host memory; a backend makes the tensors that it needs. Knows nothing of models, of the contents
of sequences or of scheduling. Imports no torch at run time.

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
values into kv_layer [2, num_blocks, block_size, K, D]. A row attends to the tokens of its sequence up to and including
itself, unless two-way spans or the window change that."""


@dataclass(frozen=True, slots=True)
class AttentionBatch:
    """Where a step's rows stand in their sequences and in the cache. Letters: T rows in the step, S sequences.

    Sequence i has rows query_start_loc[i]:query_start_loc[i + 1]. They are the last of its seq_lens[i] tokens.
    Attention is causal. Two-way spans extend it; each lies completely among the step's rows or completely before them.
    A layer's window restricts it.
    """

    query_start_loc: Sequence[int]  # S + 1
    seq_lens: Sequence[int]  # S
    block_tables: Sequence[Sequence[int]]  # S lists of block numbers
    slot_mapping: Sequence[int]  # T: block number * block_size + offset in the block, where each row's KV goes
    block_size: int
    two_way_spans: Sequence[Sequence[tuple[int, int]]] = ()  # per sequence: positions [begin, end) attend to each other
    spans_need_window: bool = False  # two-way spans hold in layers with a window alone (Gemma 4)

    def spans_of(self, i: int, window: int | None) -> Sequence[tuple[int, int]]:
        """The two-way spans of sequence i in the layers with this window."""
        if not self.two_way_spans or (window is None and self.spans_need_window):
            return ()
        return self.two_way_spans[i]


class AttentionBackend(Protocol):
    """Attention on one device. Made once; it may keep buffers between steps."""

    def plan(self, batch: AttentionBatch, windows: Sequence[int | None]) -> Mapping[int | None, Attend]:
        """Do the work of a step that all layers share; returns the attention function for each of `windows`.

        A window is how many tokens a row attends to, itself included (sliding-window attention); None: all.
        """

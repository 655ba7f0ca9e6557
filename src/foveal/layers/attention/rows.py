"""What every backend needs for a step's rows: which tokens they attend to, and where their keys and values go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.layers.attention.batch import AttentionBatch


def visible(batch: AttentionBatch, i: int, window: int | None) -> Tensor:
    """Which of its tokens each row of sequence i attends to: bool [rows, seq_lens[i]]."""
    num_rows = batch.query_start_loc[i + 1] - batch.query_start_loc[i]
    keys = torch.arange(batch.seq_lens[i])
    queries = keys[-num_rows:, None]
    seen = keys <= queries
    for begin, end in batch.spans_of(i, window):
        seen |= (begin <= queries) & (queries < end) & (begin <= keys) & (keys < end)
    return seen if window is None else seen & (keys > queries - window)


def write_kv(kv_layer: Tensor, key_TKD: Tensor, value_TKD: Tensor, slot_mapping_T: Tensor) -> None:
    """Put each row's key and value into its slot of kv_layer [2, num_blocks, block_size, K, D]."""
    keys, values = kv_layer.flatten(1, 2)
    keys.index_copy_(0, slot_mapping_T, key_TKD)
    values.index_copy_(0, slot_mapping_T, value_TKD)

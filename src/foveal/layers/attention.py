"""Attention over the paged KV cache: one entry, a table of backends.

Knows nothing of models, sequences' contents or scheduling: it gets rows of queries, block tables and lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class AttentionBatch:
    """Where a step's rows stand in their sequences and in the cache. Letters: T rows in the step, S sequences.

    Sequence i has rows query_start_loc[i]:query_start_loc[i + 1]; they are its last tokens, seq_lens[i] with them.
    """

    query_start_loc: Sequence[int]  # S + 1
    seq_lens: Sequence[int]  # S
    block_tables: Sequence[Sequence[int]]  # S lists of block numbers
    slot_mapping_T: torch.Tensor  # int64: block number * block_size + offset in the block, where each row's KV goes
    block_size: int

"""The backend for any device: copies keys and values together, with torch's public operations only.

Tests compare other backends with it.

Letters: T rows in the step, H query heads, K key-value heads, D head_dim, L tokens of a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.layers.attention.rows import visible, write_kv

if TYPE_CHECKING:
    from foveal.layers.attention.batch import Attend, AttentionBatch


@dataclass(frozen=True, slots=True)
class Gathering:
    device: torch.device

    def plan(self, batch: AttentionBatch, windows: Sequence[int | None]) -> dict[int | None, Attend]:
        slots_T = torch.tensor(batch.slot_mapping, device=self.device)
        tables = [torch.tensor(table, device=self.device) for table in batch.block_tables]
        return {window: self._plan(batch, window, slots_T, tables) for window in windows}

    def _plan(self, batch: AttentionBatch, window: int | None, slots_T: Tensor, tables: list[Tensor]) -> Attend:
        rows = [slice(*pair) for pair in pairwise(batch.query_start_loc)]
        masks = [visible(batch, i, window).to(self.device) for i in range(len(tables))]

        def attend(query_THD: Tensor, key_TKD: Tensor, value_TKD: Tensor, kv_layer: Tensor, scale: float) -> Tensor:
            write_kv(kv_layer, key_TKD, value_TKD, slots_T)
            outputs = []
            for row, table, seq_len, mask in zip(rows, tables, batch.seq_lens, masks, strict=True):
                query = query_THD[row].transpose(0, 1).unsqueeze(0)  # [1, H, T, D]
                key, value = kv_layer[:, table].flatten(1, 2)[:, :seq_len].transpose(1, 2).unsqueeze(1)  # [1, K, L, D]
                output = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale, enable_gqa=True)
                outputs.append(output.squeeze(0).transpose(0, 1))
            return torch.cat(outputs)

        return attend

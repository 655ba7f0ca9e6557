"""The CPU backend: keys and values are read in place.

A sequence's attention is computed in parts, each of which is full or causal and so needs no mask. The parts are runs
of neighbouring blocks (usually one, two if a prefix is shared) and, in a prefill, the step's own rows. The outputs of
the parts are merged by their log-sum-exps. A decoding row reads its own key and value from the cache, too. A mask is
built only if a window or a two-way span cuts through a part.

Letters: T rows in the step, S sequences, H query heads, K key-value heads, G = H / K query heads for each key-value
head, D head_dim, L cached tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from foveal.layers.attention.rows import visible, write_kv

if TYPE_CHECKING:
    from foveal.layers.attention.batch import Attend, AttentionBatch

MAX_RUNS = 8  # cached blocks in more runs than this are copied into one
UNSEEN = -1e9  # added to masked scores; finite, so that a row with no key in a part has no weight there, and no NaN


@dataclass(frozen=True, slots=True)
class CachedTokens:
    """A range of one sequence in the cache. Blocks in a slice are read in place, blocks in a tensor are copied."""

    blocks: slice | Tensor
    num_tokens: int
    num_skipped: int = 0  # tokens of the first block that come before the range


@dataclass(frozen=True, slots=True)
class SequencePlan:
    """A sequence in a step: its rows and the cached ranges that they attend to. Several rows attend to each other, too.

    A mask is float32 [rows, tokens], or None: every row attends to all of a range, or causally to the step's rows.
    """

    rows: slice
    num_rows: int
    cached: tuple[tuple[CachedTokens, Tensor | None], ...]
    own_mask: Tensor | None


@dataclass(frozen=True, slots=True)
class InPlace:
    """The backend; see the docstring of this module."""

    device: torch.device

    def plan(self, batch: AttentionBatch, windows: Sequence[int | None]) -> dict[int | None, Attend]:
        slots_T = torch.tensor(batch.slot_mapping)
        return {window: _plan(batch, window, slots_T) for window in windows}


def _plan(batch: AttentionBatch, window: int | None, slots_T: Tensor) -> Attend:
    plans = [_plan_sequence(batch, i, window) for i in range(len(batch.seq_lens))]

    def attend(query_THD: Tensor, key_TKD: Tensor, value_TKD: Tensor, kv_layer: Tensor, scale: float) -> Tensor:
        write_kv(kv_layer, key_TKD, value_TKD, slots_T)
        output_THD = torch.empty_like(query_THD)
        for plan in plans:
            query = query_THD[plan.rows]
            parts = [_attend_part(query, *_read(kv_layer, cached), scale, mask) for cached, mask in plan.cached]
            if plan.num_rows > 1:
                own_key, own_value, mask = key_TKD[plan.rows], value_TKD[plan.rows], plan.own_mask
                parts.append(_attend_part(query, own_key, own_value, scale, mask, is_causal=mask is None))
            output_THD[plan.rows] = _merge(parts)
        return output_THD

    return attend


def _plan_sequence(batch: AttentionBatch, i: int, window: int | None) -> SequencePlan:
    begin, end = batch.query_start_loc[i], batch.query_start_loc[i + 1]
    num_rows, seq_len = end - begin, batch.seq_lens[i]
    num_cached = seq_len - (num_rows if num_rows > 1 else 0)
    first = 0 if window is None else max(0, seq_len - num_rows + 1 - window)  # that any row attends to
    seen = visible(batch, i, window) if num_rows > 1 and _is_cut(batch, i, window) else None
    masked, at = [], first
    for stretch in cached_runs(batch.block_tables[i], min(first, num_cached), num_cached, batch.block_size):
        masked.append((stretch, None if seen is None else _bias(seen[:, at : at + stretch.num_tokens])))
        at += stretch.num_tokens
    own_mask = None if seen is None else _bias(seen[:, num_cached:])
    return SequencePlan(slice(begin, end), num_rows, tuple(masked), own_mask)


def _is_cut(batch: AttentionBatch, i: int, window: int | None) -> bool:
    """Whether a window or a two-way span makes the attention of sequence i other than causal."""
    start = batch.seq_lens[i] - (batch.query_start_loc[i + 1] - batch.query_start_loc[i])
    has_spans = any(end > start for _, end in batch.spans_of(i, window))
    return has_spans or (window is not None and batch.seq_lens[i] > window)


def _bias(seen: Tensor) -> Tensor:
    return torch.zeros(seen.shape).masked_fill_(~seen, UNSEEN)


def cached_runs(block_table: Sequence[int], start: int, stop: int, block_size: int) -> tuple[CachedTokens, ...]:
    """Cut positions [start, stop) into runs of neighbouring blocks, or into one copied range beyond MAX_RUNS."""
    first, last = start // block_size, -(-stop // block_size)
    table = block_table[first:last] if start < stop else []
    starts = [i for i, block in enumerate(table) if i == 0 or block != table[i - 1] + 1]
    if len(starts) > MAX_RUNS:
        return (CachedTokens(torch.tensor(table), stop - start, start % block_size),)
    runs = []
    for begin, end in pairwise([*starts, len(table)]):
        first_token, last_token = (first + begin) * block_size, min(stop, (first + end) * block_size)
        num_skipped = max(start - first_token, 0)
        blocks = slice(table[begin], table[begin] + end - begin)
        runs.append(CachedTokens(blocks, last_token - first_token - num_skipped, num_skipped))
    return tuple(runs)


def _read(kv_layer: Tensor, cached: CachedTokens) -> tuple[Tensor, Tensor]:
    """Keys and values [L, K, D]: views for a slice of blocks, copies for a tensor of block numbers."""
    tokens = kv_layer[:, cached.blocks].flatten(1, 2)
    key, value = tokens[:, cached.num_skipped : cached.num_skipped + cached.num_tokens].unbind()
    return key, value


def _attend_part(
    query_THD: Tensor,
    key_LKD: Tensor,
    value_LKD: Tensor,
    scale: float,
    mask_TL: Tensor | None = None,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Output [T, H, D] and log-sum-exp [T, H] of some rows over some keys. Keys are not copied for their G heads."""
    num_rows, num_heads, head_dim = query_THD.shape
    num_kv_heads = key_LKD.shape[1]
    query = query_THD.view(num_rows, num_kv_heads, -1, head_dim).permute(1, 2, 0, 3)  # [K, G, T, D]
    key, value = (x.transpose(0, 1).unsqueeze(1) for x in (key_LKD, value_LKD))  # [K, 1, L, D]
    if num_rows == 1:  # the G heads are rows that share their keys
        query = query.transpose(1, 2)
        if num_kv_heads == num_heads:  # torch's bfloat16 kernel takes three times as long for a single row
            query, key, value = query.float(), key.float(), value.float()
    else:
        key, value = (x.expand(-1, query.shape[1], -1, -1) for x in (key, value))
    output, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, is_causal=is_causal, attn_mask=mask_TL, scale=scale
    )
    if num_rows == 1:
        return output.reshape(1, num_heads, head_dim), logsumexp.reshape(1, num_heads)
    return output.permute(2, 0, 1, 3).flatten(1, 2), logsumexp.permute(2, 0, 1).flatten(1, 2)


def _merge(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The attention over the keys of all parts: the outputs, weighted by each part's share of the softmax sum."""
    if len(parts) == 1:
        return parts[0][0]
    outputs, logsumexps = zip(*parts, strict=True)
    shares = torch.stack(logsumexps).softmax(dim=0)
    return (torch.stack(outputs) * shares.unsqueeze(-1)).sum(dim=0)

"""Attention in native code: one call a layer, for all rows of a step, over the paged cache as it lies.

Each row attends to a range of its sequence's tokens, so causal attention, windows and two-way spans need no masks.
Covers float32 on a CPU.

Letters: T rows in the step, S sequences, H query heads, K key-value heads, D head_dim.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from foveal.layers.attention.rows import write_kv

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from foveal.layers.attention.batch import Attend, AttentionBatch


class Prefill(ctypes.Structure):
    """Mirrors prefill.h."""

    _fields_: ClassVar = [
        *(
            (name, ctypes.c_void_p)
            for name in ("query", "keys", "values", "output", "starts", "block_tables", "begins", "stops")
        ),
        *(
            (name, ctypes.c_int64)
            for name in (
                "num_sequences",
                "max_blocks",
                "block_size",
                "num_heads",
                "num_kv_heads",
                "head_dim",
                "query_stride",
                "kv_stride",
                "least_rows",
            )
        ),
        ("scale", ctypes.c_float),
    ]


@dataclass(frozen=True, slots=True)
class Native:
    """The backend; see the docstring of this module."""

    library: ctypes.CDLL
    pool: int

    def plan(self, batch: AttentionBatch, windows: Sequence[int | None]) -> dict[int | None, Attend]:
        slots_T = torch.tensor(batch.slot_mapping)
        starts, tables = np.array(batch.query_start_loc, np.int64), padded(batch.block_tables)
        return {window: self._plan(batch, window, slots_T, starts, tables) for window in windows}

    def _plan(
        self,
        batch: AttentionBatch,
        window: int | None,
        slots_T: Tensor,
        starts: NDArray[np.int64],
        tables: NDArray[np.int32],
    ) -> Attend:
        begins, stops = ranges(batch, window)

        def attend(query_THD: Tensor, key_TKD: Tensor, value_TKD: Tensor, kv_layer: Tensor, scale: float) -> Tensor:
            assert query_THD.dtype == kv_layer.dtype == torch.float32
            write_kv(kv_layer, key_TKD, value_TKD, slots_T)
            num_rows, num_heads, head_dim = query_THD.shape
            query_THD = query_THD if query_THD.stride()[1:] == (head_dim, 1) else query_THD.contiguous()
            output_THD = query_THD.new_empty((num_rows, num_heads, head_dim))
            described = Prefill(
                query=query_THD.data_ptr(),
                keys=kv_layer[0].data_ptr(),
                values=kv_layer[1].data_ptr(),
                output=output_THD.data_ptr(),
                starts=starts.ctypes.data,
                block_tables=tables.ctypes.data,
                begins=begins.ctypes.data,
                stops=stops.ctypes.data,
                num_sequences=len(tables),
                max_blocks=tables.shape[1],
                block_size=batch.block_size,
                num_heads=num_heads,
                num_kv_heads=key_TKD.shape[1],
                head_dim=head_dim,
                query_stride=query_THD.stride(0),
                kv_stride=kv_layer.stride(2),
                least_rows=1,
                scale=scale,
            )
            if self.library.foveal_prefill(self.pool, ctypes.byref(described)):
                raise MemoryError
            return output_THD

        return attend


def padded(block_tables: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    """[S, blocks]"""
    tables = np.zeros((len(block_tables), max(map(len, block_tables))), np.int32)
    for i, table in enumerate(block_tables):
        tables[i, : len(table)] = table
    return tables


def ranges(batch: AttentionBatch, window: int | None) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The first token that each row attends to, and the one behind the last: [T] each."""
    begins, stops = np.zeros(batch.query_start_loc[-1], np.int32), np.zeros(batch.query_start_loc[-1], np.int32)
    for i, (first, end) in enumerate(pairwise(batch.query_start_loc)):
        positions = np.arange(batch.seq_lens[i] - (end - first), batch.seq_lens[i], dtype=np.int32)
        stops[first:end] = positions + 1
        if window is not None:
            begins[first:end] = np.maximum(positions + 1 - window, 0)
        for begin, stop in batch.spans_of(i, window):
            inside = (begin <= positions) & (positions < stop)
            stops[first:end][inside] = stop
    return begins, stops

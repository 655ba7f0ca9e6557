"""A decoder's step in one native call, where the compiled step covers the decoder and the step has few rows.

The numbers are those of the decoder's own `decode` in float32, up to the order of additions. What is not covered (other
dtypes, what stands between the layers, long steps) stays with the decoder's own code.

Letters: T rows in the step, W hidden width, R rotations, D rotary width.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np
import torch

from foveal.layers.activation import ACTIVATIONS
from foveal.layers.linear.plain import matrices_of
from foveal.layers.native import library as native

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from foveal.layers.attention.batch import AttentionBatch
    from foveal.layers.decoder import Decoder, DecoderLayer
    from foveal.layers.linear.form import Linear
    from foveal.layers.norm import OffsetRMSNorm, RMSNorm
    from foveal.layers.step import AfterLayer

MAX_ROWS = 16  # of a step: beyond that torch's products are as fast
LANES = 16  # of the widest build: a head is whole vectors of them
ACTIVATION_CODES = {
    ACTIVATIONS["silu"]: native.SILU,
    ACTIVATIONS["gelu"]: native.GELU,
    ACTIVATIONS["gelu_pytorch_tanh"]: native.GELU_TANH,
}


def native_decoder(decoder: object, kv_cache: Tensor, block_size: int) -> NativeDecoder | None:
    """`decoder` over `kv_cache` in native code; None where that does not cover it, or is not installed."""
    from foveal.layers.decoder import Decoder

    library = native.library() if isinstance(decoder, Decoder) and _is_covered(decoder, kv_cache) else None
    if library is None or not isinstance(decoder, Decoder):
        return None
    return NativeDecoder(library, decoder, kv_cache, block_size)


def _is_covered(decoder: Decoder, kv_cache: Tensor) -> bool:
    config = decoder.config
    linears = [linear for layer in decoder.layers for linear in _linears(layer)]
    return (
        kv_cache.device.type == "cpu"
        and kv_cache.dtype == torch.float32
        and config.heads.head_dim % LANES == 0
        and config.activation in ACTIVATION_CODES
        and all(matrices_of(linear) is not None and linear.dtype == torch.float32 for linear in linears)
    )


def _linears(layer: DecoderLayer) -> tuple[Linear, ...]:
    return layer.attention.qkv, layer.attention.out, layer.mlp.gate_up, layer.mlp.down


class NativeDecoder:
    """Computes `decoder`'s steps over `kv_cache`. Keeps alive what its structs point to."""

    def __init__(self, library: ctypes.CDLL, decoder: Decoder, kv_cache: Tensor, block_size: int) -> None:
        self._library = library
        self._decoder = decoder
        self._kv_cache = kv_cache
        self._windows = tuple(decoder.ropes)
        self._kept: list[object] = []
        self._struct = self._described(decoder, kv_cache, block_size)
        self._pool = library.foveal_pool(torch.get_num_threads())

    def covers(self, batch: AttentionBatch, after_layer: AfterLayer | None) -> bool:
        """Whether it can compute this step."""
        is_plain = after_layer is None and not any(batch.two_way_spans)
        return is_plain and batch.query_start_loc[-1] <= MAX_ROWS

    def decode(self, x_TW: Tensor, positions_RT: Tensor, batch: AttentionBatch) -> Tensor:
        """Embeddings -> normed hidden states, in the same place [T, W]; keys and values are written into the cache."""
        tables, seq_lens = _rows_of(batch.query_start_loc, batch.seq_lens, batch.block_tables)
        slots = np.array(batch.slot_mapping, dtype=np.int64)
        rotations = [self._decoder.ropes[window](positions_RT) for window in self._windows]
        half = rotations[0].cos.shape[-1] // 2
        cos, sin = (torch.stack([r[i][:, 0, :half] for r in rotations]).contiguous() for i in (0, 1))
        described = native.Step(
            x=x_TW.data_ptr(),
            kv_cache=self._kv_cache.data_ptr(),
            cos=cos.data_ptr(),
            sin=sin.data_ptr(),
            block_tables=tables.ctypes.data,
            seq_lens=seq_lens.ctypes.data,
            slots=slots.ctypes.data,
            num_rows=len(slots),
            max_blocks=tables.shape[1],
        )
        if self._library.foveal_step(self._pool, ctypes.byref(self._struct), ctypes.byref(described)):
            raise MemoryError
        return x_TW

    def close(self) -> None:
        """End its threads. Nothing may be computing."""
        self._library.foveal_close(self._pool)

    # --- the structs --------------------------------------------------------------------------------------------------

    def _described(self, decoder: Decoder, kv_cache: Tensor, block_size: int) -> native.Decoder:
        config, heads = decoder.config, decoder.config.heads
        layers = (native.Layer * len(decoder.layers))(*map(self._layer, decoder.layers))
        self._kept.append(layers)
        return native.Decoder(
            layers=layers,
            num_layers=len(decoder.layers),
            width=decoder.embedding.in_features,
            num_heads=heads.num_heads,
            num_kv_heads=heads.num_kv_heads,
            head_dim=heads.head_dim,
            mlp_width=decoder.layers[0].mlp.down.in_features,
            rotary_width=2 * decoder.ropes[self._windows[0]].frequencies_VD.shape[1],
            block_size=block_size,
            num_blocks=kv_cache.shape[2],
            kv_type=native.FLOAT32,
            activation=ACTIVATION_CODES[config.activation],
            eps=config.rms_norm_eps,
            query_scale=config.query_scale,
            norm=self._norm(decoder.norm),
        )

    def _layer(self, layer: DecoderLayer) -> native.Layer:
        attention, heads = layer.attention, layer.attention.heads
        query, key, value = self._parts(attention.qkv, [heads.num_heads, heads.num_kv_heads, heads.num_kv_heads])
        gate, up = self._parts(layer.mlp.gate_up, [1, 1])
        out, down = (self._parts(linear, [1])[0] for linear in (attention.out, layer.mlp.down))
        return native.Layer(
            attention_norm=self._norm(layer.attention_norm),
            query_norm=self._norm(attention.query_norm),
            key_norm=self._norm(attention.key_norm),
            after_attention_norm=self._norm(layer.after_attention_norm),
            mlp_norm=self._norm(layer.mlp_norm),
            after_mlp_norm=self._norm(layer.after_mlp_norm),
            query=query,
            key=key,
            value=value,
            out=out,
            gate=gate,
            up=up,
            down=down,
            window=attention.window or 0,
            rope=self._windows.index(attention.window),
        )

    def _norm(self, norm: RMSNorm | OffsetRMSNorm | None) -> int | None:
        return None if norm is None else self._pointer(norm.weight)

    def _parts(self, linear: Linear, shares: list[int]) -> list[native.Matrix]:
        """The matrices of a product whose outputs are divided in these shares, stored as one matrix or apart."""
        stored = matrices_of(linear)
        assert stored is not None
        if len(stored) == len(shares):
            return [self._matrix(matrix.weight, matrix.bias) for matrix in stored]
        (fused,) = stored
        sizes = [share * fused.weight.shape[0] // sum(shares) for share in shares]
        biases = [None] * len(sizes) if fused.bias is None else torch.split(fused.bias, sizes)
        return list(map(self._matrix, torch.split(fused.weight, sizes), biases))

    def _matrix(self, weight: Tensor, bias: Tensor | None) -> native.Matrix:
        return native.Matrix(
            weight=self._pointer(weight),
            scale=None,
            bias=None if bias is None else self._pointer(bias),
            out=weight.shape[0],
            in_=weight.shape[1],
            type=native.FLOAT32,
        )

    def _pointer(self, tensor: Tensor) -> int:
        tensor = tensor.contiguous()  # as it lies, but for a matrix that was stored transposed
        self._kept.append(tensor)
        return tensor.data_ptr()


def _rows_of(
    query_start_loc: Sequence[int], seq_lens: Sequence[int], block_tables: Sequence[Sequence[int]]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """For each row of a step its sequence's block table, padded [T, blocks], and how many tokens it sees [T]."""
    sequences = np.repeat(np.arange(len(seq_lens)), np.diff(query_start_loc))
    tables = np.zeros((len(seq_lens), max(map(len, block_tables))), np.int32)
    for i, table in enumerate(block_tables):
        tables[i, : len(table)] = table
    rows_behind = np.array(query_start_loc)[sequences + 1] - np.arange(len(sequences)) - 1
    return tables[sequences], (np.array(seq_lens)[sequences] - rows_behind).astype(np.int32)

"""A decoder's step in one native call, where the compiled step covers the decoder and the step.

The numbers are those of the decoder's own `decode` in float32, up to the order of additions; products with quantised
weights are the same to the bit. What is not covered (other dtypes, what stands between the layers, long steps in
float32) stays with the decoder's own code.

Letters: T rows in the step, W hidden width.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np
import torch

from foveal.layers.activation import ACTIVATIONS
from foveal.layers.attention.native import padded, ranges
from foveal.layers.decoder import Decoder, SelfAttention
from foveal.layers.linear.plain import SideBySide, plain_parts
from foveal.layers.linear.quantised import Quantised
from foveal.layers.mlp import GatedMLP
from foveal.layers.native import library as native
from foveal.layers.native import products

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from foveal.layers.attention.batch import AttentionBatch
    from foveal.layers.decoder import DecoderLayer
    from foveal.layers.linear.form import Linear
    from foveal.layers.norm import OffsetRMSNorm, RMSNorm
    from foveal.layers.step import AfterLayer

MAX_ROWS = 64  # of a step with float32 matrices: beyond that torch's products are faster (benchmarks/decode_step.txt)
LANES = 16  # of the widest build: a head is whole vectors of them
ACTIVATION_CODES = {
    ACTIVATIONS["silu"]: native.SILU,
    ACTIVATIONS["gelu"]: native.GELU,
    ACTIVATIONS["gelu_pytorch_tanh"]: native.GELU_TANH,
}


def native_decoder(decoder: object, kv_cache: Tensor, block_size: int) -> NativeDecoder | None:
    """`decoder` over `kv_cache` in native code; None where that does not cover it, or is not installed."""
    if not isinstance(decoder, Decoder) or not _is_covered(decoder, kv_cache):
        return None
    library = native.library()
    return None if library is None else NativeDecoder(library, decoder, kv_cache, block_size)


def _is_covered(decoder: Decoder, kv_cache: Tensor) -> bool:
    config = decoder.config
    return (
        not config.delta_heads
        and not config.experts_per_token
        and config.residual_scale == 1.0
        and kv_cache.device.type == "cpu"
        and kv_cache.dtype == decoder.embedding.dtype == torch.float32
        and config.heads.head_dim % LANES == 0
        and config.activation in ACTIVATION_CODES
        and all(_has_parts(linear) and linear.dtype == torch.float32 for linear in _linears(decoder))
    )


def _linears(decoder: Decoder) -> list[Linear]:
    return [linear for layer in decoder.layers for linear in layer.linears]


def _is_quantised(linear: Linear) -> bool:
    return all(map(_is_quantised, linear.parts)) if isinstance(linear, SideBySide) else isinstance(linear, Quantised)


def _has_parts(linear: Linear) -> bool:
    if isinstance(linear, SideBySide):
        return all(map(_has_parts, linear.parts))
    return isinstance(linear, Quantised) or plain_parts(linear) is not None


class NativeDecoder:
    """Computes `decoder`'s steps over `kv_cache`. Keeps alive what its structs point to."""

    def __init__(self, library: ctypes.CDLL, decoder: Decoder, kv_cache: Tensor, block_size: int) -> None:
        self._library = library
        self._decoder = decoder
        self._kv_cache = kv_cache
        self._windows = tuple(decoder.ropes)
        self._kept: list[object] = []
        self._struct = self._described(decoder, kv_cache, block_size)
        self._head = self._head_of(decoder.head)
        self._takes_many = all(map(_is_quantised, _linears(decoder)))
        self._pool = native.pool(torch.get_num_threads())

    def covers(self, batch: AttentionBatch, after_layer: AfterLayer | None) -> bool:
        """Whether it can compute this step."""
        return after_layer is None and (self._takes_many or batch.query_start_loc[-1] <= MAX_ROWS)

    def decode(self, x_TW: Tensor, positions_RT: Tensor, batch: AttentionBatch) -> Tensor:
        """Embeddings -> normed hidden states, in the same place [T, W]; keys and values are written into the cache."""
        assert x_TW.dtype == torch.float32
        assert x_TW.is_contiguous()
        starts, tables = np.array(batch.query_start_loc, np.int64), padded(batch.block_tables)
        sequences = np.repeat(np.arange(len(tables), dtype=np.int32), np.diff(starts))
        begins, stops = map(np.stack, zip(*(ranges(batch, window) for window in self._windows), strict=True))
        slots = np.array(batch.slot_mapping, dtype=np.int64)
        rotations = [self._decoder.ropes[window](positions_RT) for window in self._windows]
        half = rotations[0].cos.shape[-1] // 2
        cos, sin = (torch.stack([r[i][:, 0, :half] for r in rotations]).contiguous() for i in (0, 1))
        described = native.Step(
            x=x_TW.data_ptr(),
            kv_cache=self._kv_cache.data_ptr(),
            cos=cos.data_ptr(),
            sin=sin.data_ptr(),
            starts=starts.ctypes.data,
            block_tables=tables.ctypes.data,
            sequences=sequences.ctypes.data,
            begins=begins.ctypes.data,
            stops=stops.ctypes.data,
            slots=slots.ctypes.data,
            num_rows=len(slots),
            num_sequences=len(tables),
            max_blocks=tables.shape[1],
        )
        if self._library.foveal_step(self._pool, ctypes.byref(self._struct), ctypes.byref(described)):
            raise MemoryError
        return x_TW

    def logits(self, hidden: Tensor) -> Tensor:
        """The decoder's `logits`: [rows, W] -> float32 [rows, vocab_size]."""
        if self._head is None or len(hidden) > MAX_ROWS:
            return self._decoder.logits(hidden)
        return self._decoder.finished(products.multiply(self._head, hidden))

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
            mlp_width=decoder.layers[0].mlp.linears[-1].in_features,
            rotary_width=2 * decoder.ropes[self._windows[0]].frequencies_VD.shape[1],
            block_size=block_size,
            num_blocks=kv_cache.shape[2],
            activation=ACTIVATION_CODES[config.activation],
            eps=config.rms_norm_eps,
            query_scale=config.query_scale,
            norm=self._pointer(_weight_of(decoder.norm)),
        )

    def _head_of(self, head: Linear) -> native.Matrix | None:
        """None: its own product is native already, or not covered."""
        is_covered = head.dtype == torch.float32 and plain_parts(head) is not None
        return next(iter(self._parts(head, [1]))) if is_covered else None

    def _layer(self, layer: DecoderLayer) -> native.Layer:
        attention = layer.attention
        assert isinstance(attention, SelfAttention)
        heads = attention.heads
        query, key, value = self._parts(attention.qkv, [heads.num_heads, heads.num_kv_heads, heads.num_kv_heads])
        mlp = layer.mlp
        assert isinstance(mlp, GatedMLP)
        gate, up = self._parts(mlp.gate_up, [1, 1])
        [out], [down] = self._parts(attention.out, [1]), self._parts(mlp.down, [1])
        return native.Layer(
            attention_norm=self._pointer(_weight_of(layer.attention_norm)),
            query_norm=self._pointer(_weight_of(attention.query_norm)),
            key_norm=self._pointer(_weight_of(attention.key_norm)),
            after_attention_norm=self._pointer(_weight_of(layer.after_attention_norm)),
            mlp_norm=self._pointer(_weight_of(layer.mlp_norm)),
            after_mlp_norm=self._pointer(_weight_of(layer.after_mlp_norm)),
            query=query,
            key=key,
            value=value,
            out=out,
            gate=gate,
            up=up,
            down=down,
            window=self._windows.index(attention.window),
        )

    def _parts(self, linear: Linear, shares: Sequence[int]) -> Iterator[native.Matrix]:
        """The matrices of a product whose outputs are divided in these shares."""
        if isinstance(linear, Quantised):
            self._kept.append(linear)
            yield from _split(linear.struct, linear.weight.stride(0), shares)
            return
        if isinstance(linear, SideBySide):
            for part in linear.parts:
                yield from self._parts(part, [1])
            return
        parts = plain_parts(linear, shares)
        assert parts is not None
        for weight, bias in parts:
            size_out, size_in = weight.shape
            yield native.Matrix(
                weight=self._pointer(weight), bias=self._pointer(bias), out=size_out, in_=size_in, form=native.FLOAT32
            )

    def _pointer(self, tensor: Tensor | None) -> int | None:
        if tensor is None:
            return None
        tensor = tensor.contiguous()  # as it lies, but for a matrix that was stored transposed
        self._kept.append(tensor)
        return tensor.data_ptr()


def _split(matrix: native.Matrix, row_bytes: int, shares: Sequence[int]) -> Iterator[native.Matrix]:
    """A matrix's outputs, divided in these shares."""
    start = 0
    for share in shares:
        size_out = share * matrix.out // sum(shares)
        yield native.Matrix(
            weight=matrix.weight + start * row_bytes,
            scale=matrix.scale and matrix.scale + 4 * start,
            bias=matrix.bias and matrix.bias + 4 * start,
            out=size_out,
            in_=matrix.in_,
            form=matrix.form,
            limit=matrix.limit,
        )
        start += size_out


def _weight_of(norm: RMSNorm | OffsetRMSNorm | None) -> Tensor | None:
    return None if norm is None else norm.weight

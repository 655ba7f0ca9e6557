"""Checks that a decoder's matrices have the sizes that its settings speak of, since a checkpoint's files may disagree.

Letters: W hidden width, H query heads, K key-value heads, D head_dim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.errors import CheckpointError
from foveal.layers.gated_delta import GatedDeltaNet
from foveal.layers.mlp import Experts

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from foveal.layers.decoder import Decoder, DecoderLayer, SelfAttention
    from foveal.layers.linear.form import Embedding, Linear
    from foveal.layers.mlp import GatedMLP
    from foveal.layers.norm import OffsetRMSNorm, RMSNorm


def check_fit(decoder: Decoder, name: str, head: str, numbers: Iterable[int]) -> None:
    """Raises CheckpointError for the first that differs. Tables may have more rows than the settings say.

    name, head, numbers: as `Decoder.load` has them.
    """
    width = decoder.embedding.in_features
    for number, layer in zip(numbers, decoder.layers, strict=True):
        _check_layer(layer, f"{name}.layers.{number}", width)
    check_norm(decoder.norm, f"{name}.norm", width)
    for table, part in ((decoder.embedding, f"{name}.embed_tokens"), (decoder.head, head)):
        check_linear(table, part, max(table.out_features, decoder.config.vocab_size), width)


def check_number_of_layers(names: Container[str], name: str, num_layers: int) -> None:
    """Raises CheckpointError where the files have a layer more: a part of a model answers nonsense."""
    if f"{name}.layers.{num_layers}.input_layernorm.weight" in names:
        raise CheckpointError(f"the files have {name}.layers.{num_layers}, where config.json has {num_layers} layers")


def _check_layer(layer: DecoderLayer, name: str, width: int) -> None:
    if not isinstance(layer.attention, GatedDeltaNet):
        _check_attention(layer.attention, f"{name}.self_attn", width)
    for mlp in (*layer.mlp.experts, layer.mlp.shared) if isinstance(layer.mlp, Experts) else (layer.mlp,):
        check_mlp(mlp, f"{name}.mlp", width)
    check_norm(layer.attention_norm, f"{name}.input_layernorm", width)
    check_norm(layer.mlp_norm, f"{name}.post_attention_layernorm", width)


def _check_attention(attention: SelfAttention, name: str, width: int) -> None:
    heads = attention.heads
    outputs = heads.num_heads * (2 if attention.is_gated else 1) + 2 * heads.num_kv_heads
    check_linear(attention.qkv, f"{name}.qkv_proj", outputs * heads.head_dim, width)
    check_linear(attention.out, f"{name}.o_proj", width, heads.num_heads * heads.head_dim)
    check_norm(attention.query_norm, f"{name}.q_norm", heads.head_dim)
    check_norm(attention.key_norm, f"{name}.k_norm", heads.head_dim)


def check_mlp(mlp: GatedMLP, name: str, width: int) -> None:
    check_linear(mlp.gate_up, f"{name}.gate_up_proj", 2 * mlp.down.in_features, width)
    check_linear(mlp.down, f"{name}.down_proj", width, mlp.down.in_features)


def check_linear(linear: Linear | Embedding, name: str, size_out: int, size_in: int) -> None:
    _compare((linear.out_features, linear.in_features), (size_out, size_in), name)


def check_norm(norm: RMSNorm | OffsetRMSNorm | None, name: str, width: int) -> None:
    if norm:
        _compare(tuple(norm.weight.shape), (width,), f"{name}.weight")


def _compare(found: tuple[int, ...], wanted: tuple[int, ...], name: str) -> None:
    if found != wanted:
        raise CheckpointError(
            f"{name} has the shape {list(found)}, where config.json asks for {list(wanted)}; "
            "they are of different models, or the weights are damaged"
        )

"""The decoder of Llama and its many relatives: grouped-query attention with rotary positions and a gated MLP.

One class serves all of them. They differ in a few settings (`DecoderConfig`) and in their tensors: fused or separate
projections, biases, norms of queries and keys, norms after the sublayers. Some layers may have a gated delta network
instead of attention. Tensors have the names of Hugging Face's layouts. Knows nothing of images.

Letters: T rows in the step, W hidden width, H query heads, K key-value heads, D head_dim, M MLP width, R position rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from foveal.layers.activation import activation, capped
from foveal.layers.fit import check_fit, check_number_of_layers
from foveal.layers.gated_delta import DeltaHeads, GatedDeltaNet
from foveal.layers.linear.load import Weights, has_linear, load_embedding, load_linear
from foveal.layers.mlp import Experts, GatedMLP
from foveal.layers.norm import OffsetRMSNorm, RMSNorm
from foveal.layers.rope import Rope, Rotation, counted_positions, rotate
from foveal.layers.step import KVShape, Positions, StateShape, StepContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from foveal.layers.activation import Activation
    from foveal.layers.linear.form import Embedding, Linear
    from foveal.types import Prompt


@dataclass(frozen=True, slots=True)
class Heads:
    num_heads: int
    num_kv_heads: int
    head_dim: int


@dataclass(frozen=True, slots=True, eq=False)
class DecoderConfig:
    """A decoder's settings. Whatever else differs is visible in its tensors."""

    vocab_size: int
    max_model_len: int
    num_layers: int
    heads: Heads
    rms_norm_eps: float
    activation: Activation
    query_scale: float
    window: int | None  # of the sliding layers
    sliding_layers: tuple[bool, ...]
    ties_embeddings: bool
    rope: Rope
    sliding_rope: Rope  # of the sliding layers; only Gemma's differs from `rope`
    norm: type[RMSNorm | OffsetRMSNorm] = RMSNorm
    embedding_scale: float = 1.0
    residual_scale: float = 1.0  # of what a sublayer adds
    logit_divisor: float = 1.0
    logit_cap: float | None = None
    experts_per_token: int = 0  # of a mixture of experts
    gates_attention: bool = False  # each head's output is gated; queries and gates are projected together
    delta_heads: DeltaHeads | None = None
    delta_layers: tuple[bool, ...] = ()  # which layers are gated delta networks

    def is_delta(self, layer: int) -> bool:
        return bool(self.delta_layers) and self.delta_layers[layer]

    def window_of(self, layer: int) -> int | None:
        """How many tokens a row attends to in a layer; None: all."""
        return self.window if self.sliding_layers[layer] else None

    def rope_of(self, window: int | None) -> Rope:
        """The rotary embedding of the layers with this window."""
        return self.rope if window is None else self.sliding_rope

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> DecoderConfig:
        """From a decoder's settings in config.json. Raises CheckpointError for a missing or unknown setting."""
        num_heads, num_layers = settings["num_attention_heads"], settings["num_hidden_layers"]
        head_dim = settings.get("head_dim") or settings["hidden_size"] // num_heads
        rope = Rope.read(settings, head_dim)
        window = settings.get("sliding_window") if settings.get("use_sliding_window", True) else None
        return cls(
            vocab_size=settings["vocab_size"],
            max_model_len=settings["max_position_embeddings"],
            num_layers=num_layers,
            heads=Heads(num_heads, settings.get("num_key_value_heads") or num_heads, head_dim),
            rms_norm_eps=settings["rms_norm_eps"],
            activation=activation(settings.get("hidden_act", "silu")),
            query_scale=head_dim**-0.5,
            window=window,
            sliding_layers=sliding_layers(settings, num_layers) if window else (False,) * num_layers,
            ties_embeddings=settings.get("tie_word_embeddings", False),
            rope=rope,
            sliding_rope=rope,
        )


def sliding_layers(settings: Mapping[str, Any], num_layers: int) -> tuple[bool, ...]:
    """Which layers have a window: those in `layer_types`, or (Qwen) those from `max_window_layers` on, or all."""
    listed = settings.get("layer_types") or ()
    first = settings.get("max_window_layers", 0)
    return tuple(kind == "sliding_attention" for kind in listed) or tuple(i >= first for i in range(num_layers))


Rotations = Mapping[int | None, Rotation]
"""By the window of the layers."""


@dataclass(frozen=True, slots=True, eq=False)
class SelfAttention:
    qkv: Linear  # [(H + 2K) D, W]: queries, keys, values
    out: Linear  # [W, H D]
    query_norm: RMSNorm | OffsetRMSNorm | None  # over each head, before the rotation
    key_norm: RMSNorm | OffsetRMSNorm | None
    heads: Heads
    scale: float  # of the scores
    window: int | None  # tokens that a row attends to; None: all
    kv_index: int  # its layer of the KV cache
    is_gated: bool = False  # after each head's query its gate is projected

    @property
    def linears(self) -> tuple[Linear, ...]:
        return self.qkv, self.out

    @classmethod
    def load(
        cls, weights: Weights, name: str, config: DecoderConfig, window: int | None, kv_index: int
    ) -> SelfAttention:
        separate = (f"{name}.q_proj", f"{name}.k_proj", f"{name}.v_proj")
        has_norms, eps = f"{name}.q_norm.weight" in weights, config.rms_norm_eps
        return cls(
            load_linear(weights, f"{name}.qkv_proj", separate),
            load_linear(weights, f"{name}.o_proj"),
            config.norm.load(weights, f"{name}.q_norm", eps) if has_norms else None,
            config.norm.load(weights, f"{name}.k_norm", eps) if has_norms else None,
            config.heads,
            config.query_scale,
            window,
            kv_index,
            config.gates_attention,
        )

    def __call__(self, x_TW: Tensor, rotations: Rotations, step: StepContext) -> Tensor:
        num_heads, num_kv_heads, head_dim = self.heads.num_heads, self.heads.num_kv_heads, self.heads.head_dim
        rotation = rotations[self.window]
        rows = torch.unflatten(self.qkv(x_TW), -1, (-1, head_dim))
        gate_THD: Tensor | None = None
        if self.is_gated:
            asked, others = torch.split(rows, [2 * num_heads, 2 * num_kv_heads], dim=1)
            gate_THD = asked[:, 1::2]
            rows = torch.cat([asked[:, ::2], others], dim=1)
        turned, value_TKD = torch.split(rows, [num_heads + num_kv_heads, num_kv_heads], dim=1)
        if self.query_norm and self.key_norm:
            query_THD, key_TKD = torch.split(turned, [num_heads, num_kv_heads], dim=1)
            query_THD = rotate(self.query_norm(query_THD), rotation)
            key_TKD = rotate(self.key_norm(key_TKD), rotation)
        else:
            query_THD, key_TKD = torch.split(rotate(turned, rotation), [num_heads, num_kv_heads], dim=1)
        attend, kv_layer = step.attends[self.window], step.kv_cache[self.kv_index]
        y_THD = attend(query_THD, key_TKD, value_TKD, kv_layer, self.scale)
        return self.out((y_THD if gate_THD is None else y_THD * gate_THD.sigmoid()).flatten(1))


@dataclass(frozen=True, slots=True, eq=False)
class DecoderLayer:
    """Norms before the sublayers; in Gemma another one after each. In Granite what they add is scaled."""

    attention_norm: RMSNorm | OffsetRMSNorm
    attention: SelfAttention | GatedDeltaNet
    after_attention_norm: RMSNorm | OffsetRMSNorm | None
    mlp_norm: RMSNorm | OffsetRMSNorm
    mlp: GatedMLP | Experts
    after_mlp_norm: RMSNorm | OffsetRMSNorm | None
    residual_scale: float = 1.0

    @property
    def linears(self) -> tuple[Linear, ...]:
        return *self.attention.linears, *self.mlp.linears

    @classmethod
    def load(cls, weights: Weights, name: str, config: DecoderConfig, number: int, index: int) -> DecoderLayer:
        """number: of the layer in the checkpoint. index: its layer of the KV cache, or of the states."""

        def norm(part: str) -> RMSNorm | OffsetRMSNorm:
            return config.norm.load(weights, f"{name}.{part}", config.rms_norm_eps)

        norms_after = f"{name}.pre_feedforward_layernorm.weight" in weights
        return cls(
            norm("input_layernorm"),
            _load_attention(weights, name, config, number, index),
            norm("post_attention_layernorm") if norms_after else None,
            norm("pre_feedforward_layernorm" if norms_after else "post_attention_layernorm"),
            _load_mlp(weights, f"{name}.mlp", config),
            norm("post_feedforward_layernorm") if norms_after else None,
            config.residual_scale,
        )

    def __call__(self, x_TW: Tensor, rotations: Rotations, step: StepContext) -> Tensor:
        """[T, W] -> [T, W]; writes the rows' keys and values into its layer of the KV cache."""
        y_TW = self.attention(self.attention_norm(x_TW), rotations, step)
        x_TW = self._sum(x_TW, self.after_attention_norm(y_TW) if self.after_attention_norm else y_TW)
        y_TW = self.mlp(self.mlp_norm(x_TW))
        return self._sum(x_TW, self.after_mlp_norm(y_TW) if self.after_mlp_norm else y_TW)

    def _sum(self, x_TW: Tensor, y_TW: Tensor) -> Tensor:
        return x_TW + (y_TW if self.residual_scale == 1.0 else y_TW * self.residual_scale)


def _load_mlp(weights: Weights, name: str, config: DecoderConfig) -> GatedMLP | Experts:
    if has_linear(weights, f"{name}.gate"):
        return Experts.load(weights, name, config.activation, config.experts_per_token)
    return GatedMLP.load(weights, name, config.activation)


def _load_attention(
    weights: Weights, name: str, config: DecoderConfig, number: int, index: int
) -> SelfAttention | GatedDeltaNet:
    if config.delta_heads and config.is_delta(number):
        return GatedDeltaNet.load(weights, f"{name}.linear_attn", config.delta_heads, config.rms_norm_eps, index)
    return SelfAttention.load(weights, f"{name}.self_attn", config, config.window_of(number), index)


@dataclass(frozen=True, slots=True, eq=False)
class Decoder:
    """Token ids -> hidden states -> logits: `foveal.models.family.Decoder`."""

    embedding: Embedding  # [vocab_size, W]
    layers: tuple[DecoderLayer, ...]
    norm: RMSNorm | OffsetRMSNorm
    head: Linear  # [vocab_size, W]
    ropes: Mapping[int | None, Rope]  # by the window of the layers
    config: DecoderConfig
    count_positions: Callable[[Prompt, Rope, int], Positions]

    @classmethod
    def load(
        cls,
        weights: Weights,
        name: str,
        head: str,
        config: DecoderConfig,
        layer_numbers: Iterable[int] | None = None,
        count_positions: Callable[[Prompt, Rope, int], Positions] = counted_positions,
    ) -> Decoder:
        """`name` and `head` are prefixes of its tensors' names. layer_numbers: the layers to load; None: all."""
        numbers = tuple(range(config.num_layers) if layer_numbers is None else layer_numbers)
        is_tied = config.ties_embeddings and not has_linear(weights, head)
        embedding = load_embedding(weights, f"{name}.embed_tokens", is_head=is_tied)
        norm = config.norm.load(weights, f"{name}.norm", config.rms_norm_eps)
        windows = dict.fromkeys(config.window_of(number) for number in numbers if not config.is_delta(number))
        of_layers = replace(weights, part="decoder layers")
        decoder = cls(
            embedding,
            tuple(
                DecoderLayer.load(of_layers, f"{name}.layers.{number}", config, number, index)
                for number, index in zip(numbers, _indices(config, numbers), strict=True)
            ),
            norm,
            embedding if is_tied else load_linear(weights, head),
            {window: config.rope_of(window).to(norm.weight.device) for window in windows},
            config,
            count_positions,
        )
        check_fit(decoder, name, head, numbers)
        check_number_of_layers(weights, name, config.num_layers)
        return decoder

    @property
    def kv_shape(self) -> KVShape:
        num_layers = sum(isinstance(layer.attention, SelfAttention) for layer in self.layers)
        return KVShape(num_layers, self.config.heads.num_kv_heads, self.config.heads.head_dim)

    @property
    def state_shapes(self) -> tuple[StateShape, ...]:
        num_layers = sum(isinstance(layer.attention, GatedDeltaNet) for layer in self.layers)
        return self.config.delta_heads.state_shapes(num_layers) if self.config.delta_heads else ()

    @property
    def max_model_len(self) -> int:
        return self.config.max_model_len

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The distinct windows of its layers."""
        return tuple(self.ropes)

    def positions(self, prompt: Prompt, max_total_tokens: int) -> Positions:
        """Rotary positions of a new sequence that may grow to `max_total_tokens`."""
        return self.count_positions(prompt, self.config.rope, max_total_tokens)

    def embed(self, token_ids_T: Tensor) -> Tensor:
        """[T, W]; the scale (Gemma's, Granite's) is rounded to the weights' dtype, as the checkpoint was trained."""
        x_TW = self.embedding.rows(token_ids_T)
        scale = self.config.embedding_scale
        return x_TW if scale == 1.0 else x_TW * x_TW.new_tensor(scale)

    def decode(self, x_TW: Tensor, step: StepContext) -> Tensor:
        """Embeddings -> normed hidden states [T, W]. All that differs between steps is in `x_TW` and `step`."""
        rotations = {window: rope(step.positions_RT) for window, rope in self.ropes.items()}
        for i, layer in enumerate(self.layers):
            x_TW = layer(x_TW, rotations, step)
            if step.after_layer:
                x_TW = step.after_layer(i, x_TW)
        return self.norm(x_TW)

    def logits(self, hidden: Tensor) -> Tensor:
        """[rows, W] -> float32 [rows, vocab_size]."""
        return self.finished(self.head(hidden).float())

    def finished(self, logits: Tensor) -> Tensor:
        """What the head gives, divided and capped as the checkpoint asks."""
        divisor = self.config.logit_divisor
        return capped(logits if divisor == 1.0 else logits / divisor, self.config.logit_cap)


def _indices(config: DecoderConfig, numbers: tuple[int, ...]) -> list[int]:
    """For each layer how many of its kind, attention or gated delta networks, come before it."""
    kinds = [config.is_delta(number) for number in numbers]
    return [kinds[:i].count(kind) for i, kind in enumerate(kinds)]

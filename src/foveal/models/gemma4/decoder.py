"""Gemma 4's decoder: layers of two kinds, inputs of each layer's own, and late layers that share their keys.

Letters: T rows in the step, W hidden width, H query heads, K key-value heads, D head_dim, L layers, P the width of a
layer's own input, E experts.

Quirks, as published. Queries and keys are normed, values too, without a weight, and scores are not scaled. Full layers
have wider heads than sliding ones; their values may be their keys. The last layers may have no keys: they read those of
the last layer of their kind that has. A layer's own input is a token's row in a second table, plus a projection of its
embedding. For an image's token that row is the blank token's. What a layer returns is multiplied by a number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from foveal.layers.activation import capped
from foveal.layers.fit import check_linear, check_mlp, check_norm, check_number_of_layers
from foveal.layers.linear.load import Weights, has_linear, load_embedding, load_linear, load_table
from foveal.layers.mlp import GatedMLP, add_weighted, load_experts
from foveal.layers.norm import RMSNorm, normed
from foveal.layers.rope import counted_positions, rotate
from foveal.layers.step import KVShape, Positions, StateShape, StepContext

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from foveal.layers.attention.batch import Attend
    from foveal.layers.linear.form import Embedding, Linear
    from foveal.layers.rope import Rope, Rotation
    from foveal.models.gemma4.settings import DecoderSettings, LayerPlan
    from foveal.types import Prompt

    KeysValues = tuple[Tensor, Tensor]  # of a step's rows: [T, K, D] each
    Attending = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    projection: Linear  # to queries, to keys unless they are shared, and to values unless they are the keys
    out: Linear  # [W, H D]
    query_norm: RMSNorm
    key_norm: RMSNorm | None  # None: keys and values are those of an earlier layer
    plan: LayerPlan
    eps: float

    @classmethod
    def load(cls, weights: Weights, name: str, settings: DecoderSettings, plan: LayerPlan, is_own: bool) -> Attention:
        """is_own: it has keys."""
        letters = "q" + ("k" if is_own else "") + ("v" if is_own and plan.has_values else "")
        heads, eps = plan.heads, settings.rms_norm_eps
        attention = cls(
            load_linear(weights, f"{name}.qkv_proj", tuple(f"{name}.{letter}_proj" for letter in letters)),
            load_linear(weights, f"{name}.o_proj"),
            RMSNorm.load(weights, f"{name}.q_norm", eps),
            RMSNorm.load(weights, f"{name}.k_norm", eps) if is_own else None,
            plan,
            eps,
        )
        outputs = heads.num_heads + (len(letters) - 1) * heads.num_kv_heads
        check_linear(attention.projection, f"{name}.qkv_proj", outputs * heads.head_dim, settings.width)
        check_linear(attention.out, f"{name}.o_proj", settings.width, heads.num_heads * heads.head_dim)
        check_norm(attention.query_norm, f"{name}.q_norm", heads.head_dim)
        check_norm(attention.key_norm, f"{name}.k_norm", heads.head_dim)
        return attention

    def __call__(
        self, x_TW: Tensor, rotation: Rotation, attend: Attending, shared: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        """The result, and the keys and values that it had. shared: those of the layer that it shares them with."""
        rows = torch.unflatten(self.projection(x_TW), -1, (-1, self.plan.heads.head_dim))
        query_THD, rest = torch.tensor_split(rows, [self.plan.heads.num_heads], dim=1)
        keys_values = shared or self._keys_values(rest, rotation)
        y_THD = attend(rotate(self.query_norm(query_THD), rotation), *keys_values)
        return self.out(y_THD.flatten(1)), keys_values

    def _keys_values(self, rows: Tensor, rotation: Rotation) -> KeysValues:
        assert self.key_norm
        num_kv_heads = self.plan.heads.num_kv_heads
        key, value = rows[:, :num_kv_heads], rows[:, -num_kv_heads:]  # the same, where values are the keys
        return rotate(self.key_norm(key), rotation), normed(value, self.eps)


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Experts beside a layer's MLP. The router sees the row without the MLP's norm."""

    router: Linear  # [E, W]
    router_scale: Tensor  # [W]
    experts: tuple[GatedMLP, ...]
    expert_scale: Tensor  # [E]
    norm: RMSNorm
    mlp_after_norm: RMSNorm
    after_norm: RMSNorm
    num_per_row: int

    @classmethod
    def load(cls, weights: Weights, name: str, settings: DecoderSettings) -> Mixture:
        norm = partial(RMSNorm.load, weights, eps=settings.rms_norm_eps)
        router = load_linear(weights, f"{name}.router.proj")
        return cls(
            router,
            weights[f"{name}.router.scale"] * settings.width**-0.5,
            load_experts(weights, f"{name}.experts", settings.activation, router.out_features),
            weights[f"{name}.router.per_expert_scale"],
            norm(f"{name}.pre_feedforward_layernorm_2"),
            norm(f"{name}.post_feedforward_layernorm_1"),
            norm(f"{name}.post_feedforward_layernorm_2"),
            settings.experts_per_token,
        )

    def __call__(self, x_TW: Tensor, mlp_TW: Tensor) -> Tensor:
        """x_TW: the rows before any norm. mlp_TW: what the MLP makes of them."""
        asked_TW = normed(x_TW, self.norm.eps) * self.router_scale
        likely = self.router(asked_TW).softmax(dim=-1, dtype=torch.float32).topk(self.num_per_row, dim=-1)
        shares = likely.values / likely.values.sum(dim=-1, keepdim=True) * self.expert_scale[likely.indices]
        y_TW = torch.zeros_like(x_TW)
        add_weighted(y_TW, self.experts, self.norm(x_TW), likely.indices, shares.to(x_TW.dtype))
        return self.mlp_after_norm(mlp_TW) + self.after_norm(y_TW)


@dataclass(frozen=True, slots=True, eq=False)
class OwnInput:
    """Lets a layer's own input into its rows."""

    gate: Linear  # [P, W]
    projection: Linear  # [W, P]
    norm: RMSNorm

    @classmethod
    def load(cls, weights: Weights, name: str, eps: float) -> OwnInput:
        return cls(
            load_linear(weights, f"{name}.per_layer_input_gate"),
            load_linear(weights, f"{name}.per_layer_projection"),
            RMSNorm.load(weights, f"{name}.post_per_layer_input_norm", eps),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A norm before and after each sublayer."""

    attention_norm: RMSNorm
    attention: Attention
    after_attention_norm: RMSNorm
    mlp_norm: RMSNorm
    mlp: GatedMLP
    mixture: Mixture | None
    after_mlp_norm: RMSNorm
    own_input: OwnInput | None
    scale: Tensor  # [1]

    @classmethod
    def load(cls, weights: Weights, name: str, settings: DecoderSettings, number: int) -> Layer:
        norm, plan = partial(RMSNorm.load, weights, eps=settings.rms_norm_eps), settings.layers[number]
        layer = cls(
            norm(f"{name}.input_layernorm"),
            Attention.load(weights, f"{name}.self_attn", settings, plan, plan.source == number),
            norm(f"{name}.post_attention_layernorm"),
            norm(f"{name}.pre_feedforward_layernorm"),
            GatedMLP.load(weights, f"{name}.mlp", settings.activation),
            Mixture.load(weights, name, settings) if settings.experts_per_token else None,
            norm(f"{name}.post_feedforward_layernorm"),
            OwnInput.load(weights, name, settings.rms_norm_eps) if settings.input_width else None,
            weights[f"{name}.layer_scalar"],
        )
        check_mlp(layer.mlp, f"{name}.mlp", settings.width)
        check_norm(layer.attention_norm, f"{name}.input_layernorm", settings.width)
        return layer

    def __call__(
        self, x_TW: Tensor, input_TP: Tensor | None, rotation: Rotation, attend: Attending, shared: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        y_TW, keys_values = self.attention(self.attention_norm(x_TW), rotation, attend, shared)
        x_TW = x_TW + self.after_attention_norm(y_TW)
        y_TW = self.mlp(self.mlp_norm(x_TW))
        y_TW = self.mixture(x_TW, y_TW) if self.mixture else y_TW
        x_TW = x_TW + self.after_mlp_norm(y_TW)
        if self.own_input and input_TP is not None:
            let_in_TP = self.mlp.activation(self.own_input.gate(x_TW)) * input_TP
            x_TW = x_TW + self.own_input.norm(self.own_input.projection(let_in_TP))
        return x_TW * self.scale, keys_values


@dataclass(frozen=True, slots=True, eq=False)
class OwnInputs:
    """Makes the layers' own inputs from tokens and embeddings."""

    table: Embedding  # [vocab_size, L P]
    projection: Linear  # [L P, W]
    norm: RMSNorm
    width: int  # W
    num_layers: int

    @classmethod
    def load(cls, weights: Weights, name: str, settings: DecoderSettings) -> OwnInputs:
        inputs = cls(
            load_table(weights, f"{name}.embed_tokens_per_layer"),
            load_linear(weights, f"{name}.per_layer_model_projection"),
            RMSNorm.load(weights, f"{name}.per_layer_projection_norm", settings.rms_norm_eps),
            settings.width,
            len(settings.layers),
        )
        num_outputs, num_rows = inputs.num_layers * settings.input_width, inputs.table.out_features
        check_linear(inputs.table, f"{name}.embed_tokens_per_layer", max(num_rows, settings.vocab_size), num_outputs)
        check_linear(inputs.projection, f"{name}.per_layer_model_projection", num_outputs, settings.width)
        return inputs

    def __call__(self, token_ids_T: Tensor, x_TW: Tensor) -> tuple[Tensor, ...]:
        """[T, P] for each layer."""
        rows_TLP = torch.unflatten(self.table.rows(token_ids_T), 1, (self.num_layers, -1))
        projected_TLP = torch.unflatten(self.projection(x_TW) * self.width**-0.5, 1, (self.num_layers, -1))
        scale = rows_TLP.new_tensor(rows_TLP.shape[2] ** 0.5)
        return ((self.norm(projected_TLP) + rows_TLP * scale) * 2**-0.5).unbind(1)


def _over(attend: Attend, kv_layer: Tensor) -> Attending:
    return lambda query, key, value: attend(query, key, value, kv_layer, 1.0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a layer lies in the KV cache."""

    units: slice
    plan: LayerPlan

    def of(self, kv_cache: Tensor) -> Tensor:
        """[2, num_blocks, block_size, K, D]"""
        heads, (num_blocks, block_size) = self.plan.heads, kv_cache.shape[2:4]
        return kv_cache[self.units].view(2, num_blocks, block_size, heads.num_kv_heads, heads.head_dim)


def places(layers: Sequence[LayerPlan]) -> tuple[KVShape, dict[int, Place]]:
    """The shape of a KV cache, and where in it layers lie, of those that have keys of their own.

    The cache has layers of equal width, of which a layer here takes as many as it needs, one behind the other.
    """
    own = {i: plan for i, plan in enumerate(layers) if plan.source == i}
    widths = {i: plan.heads.num_kv_heads * plan.heads.head_dim for i, plan in own.items()}
    unit, begin, found = math.gcd(*widths.values()), 0, {}
    for i, plan in own.items():
        found[i] = Place(slice(begin, begin + widths[i] // unit), plan)
        begin += widths[i] // unit
    return KVShape(begin, 1, unit), found


@dataclass(frozen=True, slots=True, eq=False)
class Gemma4Decoder:
    """Token ids -> hidden states -> logits: `foveal.models.family.Decoder`."""

    embedding: Embedding  # [vocab_size, W]
    own_inputs: OwnInputs | None
    layers: tuple[Layer, ...]
    norm: RMSNorm
    head: Linear  # [vocab_size, W]
    settings: DecoderSettings
    ropes: dict[int | None, Rope]
    marks: Tensor  # int64
    kv_shape: KVShape
    places: dict[int, Place]

    @classmethod
    def load(cls, weights: Weights, name: str, head: str, settings: DecoderSettings) -> Gemma4Decoder:
        """`name` and `head` are prefixes of its tensors' names."""
        is_tied = settings.ties_embeddings and not has_linear(weights, head)
        embedding = load_embedding(weights, f"{name}.embed_tokens", is_head=is_tied)
        norm = RMSNorm.load(weights, f"{name}.norm", settings.rms_norm_eps)
        of_layers, device = replace(weights, part="decoder layers"), norm.weight.device
        kv_shape, found = places(settings.layers)
        decoder = cls(
            embedding,
            OwnInputs.load(weights, name, settings) if settings.input_width else None,
            tuple(Layer.load(of_layers, f"{name}.layers.{i}", settings, i) for i in range(len(settings.layers))),
            norm,
            embedding if is_tied else load_linear(weights, head),
            settings,
            {window: rope.to(device) for window, rope in settings.ropes.items()},
            torch.tensor(settings.marks, dtype=torch.int64, device=device),
            kv_shape,
            found,
        )
        num_rows = max(embedding.out_features, settings.vocab_size)
        check_linear(embedding, f"{name}.embed_tokens", num_rows, settings.width)
        check_number_of_layers(weights, name, len(settings.layers))
        return decoder

    @property
    def state_shapes(self) -> tuple[StateShape, ...]:
        return ()

    @property
    def max_model_len(self) -> int:
        return self.settings.max_model_len

    @property
    def vocab_size(self) -> int:
        return self.settings.vocab_size

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The distinct windows of its layers."""
        return tuple(self.ropes)

    def positions(self, prompt: Prompt, max_total_tokens: int) -> Positions:
        return counted_positions(prompt, self.ropes[None], max_total_tokens)

    def embed(self, token_ids_T: Tensor) -> Tensor:
        """[T, W]; the scale is rounded to the weights' dtype, as the checkpoint was trained."""
        x_TW = self.embedding.rows(self._without_marks(token_ids_T))
        return x_TW * x_TW.new_tensor(self.settings.width**0.5)

    def decode(self, x_TW: Tensor, step: StepContext) -> Tensor:
        """Embeddings -> normed hidden states [T, W]."""
        rotations = {window: rope(step.positions_RT) for window, rope in self.ropes.items()}
        inputs: Sequence[Tensor | None] = [None] * len(self.layers)
        if self.own_inputs:
            assert step.token_ids_T is not None
            inputs = self.own_inputs(self._without_marks(step.token_ids_T), x_TW)
        made: dict[int, KeysValues] = {}
        for i, (layer, input_TP) in enumerate(zip(self.layers, inputs, strict=True)):
            plan = layer.attention.plan
            attend = _over(step.attends[plan.window], self.places[plan.source].of(step.kv_cache))
            x_TW, made[i] = layer(x_TW, input_TP, rotations[plan.window], attend, made.get(plan.source))
        return self.norm(x_TW)

    def logits(self, hidden: Tensor) -> Tensor:
        """[rows, W] -> float32 [rows, vocab_size]."""
        return capped(self.head(hidden).float(), self.settings.logit_cap)

    def _without_marks(self, token_ids_T: Tensor) -> Tensor:
        """A mark may lie beyond the tables."""
        return token_ids_T.masked_fill(torch.isin(token_ids_T, self.marks), self.settings.blank)

"""A pre-norm decoder layer: grouped-query attention with rotary positions, then a gated MLP.

The layer of Llama and its many relatives; here with the projections fused as Phi-3 stores them. Tensors are read by
the names of Hugging Face's layouts.

Letters: T rows in the step, W hidden width, H query heads, K key-value heads, D head_dim, M MLP width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from foveal.layers.linear import Linear
from foveal.layers.norm import RMSNorm
from foveal.layers.rope import Rotation, rotate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from foveal.layers.attention import Attend


@dataclass(frozen=True, slots=True)
class Heads:
    num_heads: int
    num_kv_heads: int
    head_dim: int


@dataclass(frozen=True, slots=True, eq=False)
class SelfAttention:
    qkv: Linear  # [(H + 2K) D, W]: queries, keys, values
    out: Linear  # [W, H D]
    heads: Heads

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], name: str, heads: Heads) -> SelfAttention:
        return cls(Linear.load(tensors, f"{name}.qkv_proj"), Linear.load(tensors, f"{name}.o_proj"), heads)

    def __call__(self, x_TW: Tensor, rotation: Rotation, attend: Attend, kv_layer: Tensor) -> Tensor:
        num_heads, num_kv_heads, head_dim = self.heads.num_heads, self.heads.num_kv_heads, self.heads.head_dim
        rows = torch.unflatten(self.qkv(x_TW), -1, (-1, head_dim))
        turned, value_TKD = torch.split(rows, [num_heads + num_kv_heads, num_kv_heads], dim=1)
        query_THD, key_TKD = torch.split(rotate(turned, rotation), [num_heads, num_kv_heads], dim=1)
        return self.out(attend(query_THD, key_TKD, value_TKD, kv_layer, head_dim**-0.5).flatten(1))


@dataclass(frozen=True, slots=True, eq=False)
class GatedMLP:
    """down(silu(gate(x)) * up(x)) (Shazeer, 2020)."""

    gate_up: Linear  # [2M, W]
    down: Linear  # [W, M]

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], name: str) -> GatedMLP:
        return cls(Linear.load(tensors, f"{name}.gate_up_proj"), Linear.load(tensors, f"{name}.down_proj"))

    def __call__(self, x_TW: Tensor) -> Tensor:
        gate_TM, up_TM = self.gate_up(x_TW).chunk(2, dim=-1)
        return self.down(F.silu(gate_TM) * up_TM)


@dataclass(frozen=True, slots=True, eq=False)
class DecoderLayer:
    attention_norm: RMSNorm
    attention: SelfAttention
    mlp_norm: RMSNorm
    mlp: GatedMLP

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], name: str, heads: Heads, eps: float) -> DecoderLayer:
        return cls(
            RMSNorm.load(tensors, f"{name}.input_layernorm", eps),
            SelfAttention.load(tensors, f"{name}.self_attn", heads),
            RMSNorm.load(tensors, f"{name}.post_attention_layernorm", eps),
            GatedMLP.load(tensors, f"{name}.mlp"),
        )

    def __call__(self, x_TW: Tensor, rotation: Rotation, attend: Attend, kv_layer: Tensor) -> Tensor:
        """[T, W] -> [T, W]; writes the rows' keys and values into kv_layer."""
        x_TW = x_TW + self.attention(self.attention_norm(x_TW), rotation, attend, kv_layer)
        return x_TW + self.mlp(self.mlp_norm(x_TW))

"""A vision transformer as CLIP builds it: patches of a crop -> one hidden state a patch.

Knows nothing of crops' order, image grids or projectors. Tensors are read by the names of Hugging Face's layouts.

Letters: N crops, S pixels a side of a crop, P patches of a crop, C vision width, M MLP width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from foveal.layers.activation import activation
from foveal.layers.linear import Linear
from foveal.layers.norm import LayerNorm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """Sizes of a tower; the defaults are CLIP ViT-L/14-336's. The names are those of config.json."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    image_size: int = 336  # pixels a side of a crop
    patch_size: int = 14
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> VisionConfig:
        """From a vision_config; what is not in it keeps its default. Raises CheckpointError: unknown hidden_act."""
        config = cls(**{field.name: settings[field.name] for field in fields(cls) if field.name in settings})
        activation(config.hidden_act)
        return config


@dataclass(frozen=True, slots=True, eq=False)
class VisionAttention:
    """Every patch sees every patch of its crop."""

    query: Linear
    key: Linear
    value: Linear
    out: Linear
    num_heads: int

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], name: str, num_heads: int) -> VisionAttention:
        query, key, value, out = (
            Linear.load(tensors, f"{name}.{part}") for part in ("q_proj", "k_proj", "v_proj", "out_proj")
        )
        return cls(query, key, value, out, num_heads)

    def __call__(self, x_NPC: Tensor) -> Tensor:
        query, key, value = (
            torch.unflatten(project(x_NPC), -1, (self.num_heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        return self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


@dataclass(frozen=True, slots=True, eq=False)
class VisionLayer:
    norm1: LayerNorm
    attention: VisionAttention
    norm2: LayerNorm
    fc1: Linear  # [M, C]
    fc2: Linear  # [C, M]
    activation: Callable[[Tensor], Tensor]

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], name: str, config: VisionConfig) -> VisionLayer:
        return cls(
            LayerNorm.load(tensors, f"{name}.layer_norm1", config.layer_norm_eps),
            VisionAttention.load(tensors, f"{name}.self_attn", config.num_attention_heads),
            LayerNorm.load(tensors, f"{name}.layer_norm2", config.layer_norm_eps),
            Linear.load(tensors, f"{name}.mlp.fc1"),
            Linear.load(tensors, f"{name}.mlp.fc2"),
            activation(config.hidden_act),
        )

    def __call__(self, x_NPC: Tensor) -> Tensor:
        x_NPC = x_NPC + self.attention(self.norm1(x_NPC))
        return x_NPC + self.fc2(self.activation(self.fc1(self.norm2(x_NPC))))


@dataclass(frozen=True, slots=True, eq=False)
class ClipTower:
    """CLIP's tower up to some layer. The class token is the first state, the patches follow row by row."""

    patches: Linear  # [C, 3 patch patch]: the patch convolution, whose windows do not overlap, as a product
    class_token_C: Tensor
    position_PC: Tensor  # [1 + P, C]
    pre_norm: LayerNorm
    layers: tuple[VisionLayer, ...]
    patch_size: int

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], name: str, config: VisionConfig, num_layers: int) -> ClipTower:
        """The first `num_layers` layers; the rest and the final norm are not loaded."""
        embeddings = f"{name}.embeddings"
        return cls(
            Linear(tensors[f"{embeddings}.patch_embedding.weight"].flatten(1)),
            tensors[f"{embeddings}.class_embedding"],
            tensors[f"{embeddings}.position_embedding.weight"],
            LayerNorm.load(tensors, f"{name}.pre_layrnorm", config.layer_norm_eps),  # sic: the published name
            tuple(VisionLayer.load(tensors, f"{name}.encoder.layers.{i}", config) for i in range(num_layers)),
            config.patch_size,
        )

    def __call__(self, pixels_N3SS: Tensor) -> Tensor:
        """Normalised pixels [N, 3, S, S] in the weights' dtype -> the last loaded layer's output [N, 1 + P, C]."""
        patches_NPC = self.patches(patch_rows(pixels_N3SS, self.patch_size))
        class_token = self.class_token_C.expand(len(patches_NPC), 1, -1)
        x_NPC = self.pre_norm(torch.cat([class_token, patches_NPC], dim=1) + self.position_PC)
        for layer in self.layers:
            x_NPC = layer(x_NPC)
        return x_NPC


def patch_rows(pixels_N3SS: Tensor, patch_size: int) -> Tensor:
    """[N, 3, S, S] -> [N, P, 3 patch patch]: the pixels of each patch in the order of a convolution's weights."""
    side = pixels_N3SS.shape[2] // patch_size
    windows = pixels_N3SS.reshape(-1, 3, side, patch_size, side, patch_size)
    return windows.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

"""Vision transformers: patches of a crop -> one hidden state a patch. CLIP, SigLIP and towers made of their layers.

A family with another tower builds it from `VisionLayer`, and may pass it another attention function (`mix`). Knows
nothing of the order of crops, of image grids or projectors. Tensors have the names of Hugging Face's layouts.

Letters: N crops, S pixels a side of a crop, P patches, C vision width, M MLP width, H heads, D head_dim.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch

from foveal.layers.activation import activation
from foveal.layers.linear.load import Weights, convolution, load_linear
from foveal.layers.norm import LayerNorm, RMSNorm, load_norm
from foveal.layers.pieces import Pieces, attend, by_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from foveal.layers.activation import Activation
    from foveal.layers.linear.form import Linear

    # Queries, keys and values [..., H, P, D] -> [..., H, P, D], in pieces.
    Mixing = Callable[[Tensor, Tensor, Tensor], Pieces[Tensor]]


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
        """From a vision_config; missing settings take the defaults. Raises CheckpointError if hidden_act is unknown."""
        config = cls(**{field.name: settings[field.name] for field in fields(cls) if field.name in settings})
        activation(config.hidden_act)
        return config


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Normalises pixels for a tower: a mean and a standard deviation for each colour."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Normalisation:
        """From a preprocessor_config."""
        return cls(tuple(settings["image_mean"]), tuple(settings["image_std"]))

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 [..., height, width, 3] -> float32 [..., 3, height, width]."""
        mean_3, std_3 = (torch.tensor(values, device=pixels.device) for values in (self.mean, self.std))
        return ((pixels / 255 - mean_3) / std_3).movedim(-1, -3)


@dataclass(frozen=True, slots=True)
class LayerNames:
    """The names of a vision layer's parts in a layout; the defaults are CLIP's."""

    attention_norm: str = "layer_norm1"
    attention: str = "self_attn"
    out: str = "out_proj"
    mlp_norm: str = "layer_norm2"


@dataclass(frozen=True, slots=True, eq=False)
class VisionAttention:
    """What is before and after the mixing of patches."""

    qkv: Linear  # [3 C, C]
    out: Linear
    num_heads: int
    query_norm: RMSNorm | None = None  # over the whole width
    key_norm: RMSNorm | None = None

    @classmethod
    def load(cls, weights: Weights, name: str, num_heads: int, out: str, eps: float) -> VisionAttention:
        has_norms = f"{name}.q_norm.weight" in weights
        return cls(
            load_linear(weights, f"{name}.qkv", (f"{name}.q_proj", f"{name}.k_proj", f"{name}.v_proj")),
            load_linear(weights, f"{name}.{out}"),
            num_heads,
            RMSNorm.load(weights, f"{name}.q_norm", eps) if has_norms else None,
            RMSNorm.load(weights, f"{name}.k_norm", eps) if has_norms else None,
        )

    def heads(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """[..., P, 3 C] -> queries, keys and values [..., H, P, D]."""
        query, key, value = qkv.chunk(3, dim=-1)
        if self.query_norm and self.key_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        parts = (query, key, value)
        return tuple(torch.unflatten(part, -1, (self.num_heads, -1)).transpose(-3, -2) for part in parts)


@dataclass(frozen=True, slots=True, eq=False)
class MLP:
    """fc2(act(fc1(x)))"""

    fc1: Linear  # [M, C]
    fc2: Linear  # [C, M]
    activation: Activation

    @classmethod
    def load(cls, weights: Weights, fc1: str, fc2: str, activation: Activation) -> MLP:
        return cls(load_linear(weights, fc1), load_linear(weights, fc2), activation)

    def __call__(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


@dataclass(frozen=True, slots=True, eq=False)
class VisionLayer:
    """Norms before the sublayers; the output of a sublayer may be scaled by a gate or channel by channel."""

    attention_norm: LayerNorm | RMSNorm
    attention: VisionAttention
    mlp_norm: LayerNorm | RMSNorm
    mlp: Callable[[Tensor], Tensor]
    attention_scale: Tensor | None = None
    mlp_scale: Tensor | None = None

    @classmethod
    def load(cls, weights: Weights, name: str, config: VisionConfig, names: LayerNames = LayerNames()) -> VisionLayer:
        eps = config.layer_norm_eps
        return cls(
            load_norm(weights, f"{name}.{names.attention_norm}", eps),
            VisionAttention.load(weights, f"{name}.{names.attention}", config.num_attention_heads, names.out, eps),
            load_norm(weights, f"{name}.{names.mlp_norm}", eps),
            MLP.load(weights, f"{name}.mlp.fc1", f"{name}.mlp.fc2", activation(config.hidden_act)),
        )

    def __call__(self, x_PC: Tensor, mix: Mixing = attend) -> Pieces[Tensor]:
        """[..., P, C] -> [..., P, C]. Every patch attends to every patch of its crop, unless `mix` is another."""
        qkv = yield from by_rows(lambda rows: self.attention.qkv(self.attention_norm(rows)), x_PC)
        mixed = yield from mix(*self.attention.heads(qkv))
        return (yield from by_rows(self._after_mixing, x_PC, mixed.transpose(-3, -2).flatten(-2)))

    def _after_mixing(self, x_PC: Tensor, mixed_PC: Tensor) -> Tensor:
        y_PC = self.attention.out(mixed_PC)
        x_PC = x_PC + (y_PC if self.attention_scale is None else self.attention_scale * y_PC)
        y_PC = self.mlp(self.mlp_norm(x_PC))
        return x_PC + (y_PC if self.mlp_scale is None else self.mlp_scale * y_PC)


@dataclass(frozen=True, slots=True, eq=False)
class ClipTower:
    """The first layers of CLIP's or SigLIP's tower: patches row by row, in CLIP after a class token."""

    patches: Linear  # [C, 3 patch patch]: the patch convolution, without overlap, as a matrix
    class_token_C: Tensor | None
    position_PC: Tensor  # [P, C], the class token's first
    pre_norm: LayerNorm | None  # CLIP's
    layers: tuple[VisionLayer, ...]
    patch_size: int

    @classmethod
    def load(cls, weights: Weights, name: str, config: VisionConfig, num_layers: int) -> ClipTower:
        """The first `num_layers` layers; the rest and the final norm are not loaded."""
        embeddings, pre_norm = f"{name}.embeddings", f"{name}.pre_layrnorm"  # sic
        has_class_token = f"{embeddings}.class_embedding" in weights
        return cls(
            load_linear(weights, f"{embeddings}.patch_embedding", stored=convolution),
            weights[f"{embeddings}.class_embedding"] if has_class_token else None,
            weights[f"{embeddings}.position_embedding.weight"],
            LayerNorm.load(weights, pre_norm, config.layer_norm_eps) if f"{pre_norm}.weight" in weights else None,
            tuple(VisionLayer.load(weights, f"{name}.encoder.layers.{i}", config) for i in range(num_layers)),
            config.patch_size,
        )

    def __call__(self, pixels_N3SS: Tensor, kept: Sequence[int] = ()) -> Pieces[Tensor]:
        """Normalised pixels [N, 3, S, S] -> the last loaded layer's output [N, P, C], in the weights' dtype.

        kept: the states after so many layers, in this order, side by side instead: [N, P, kept C].
        """
        x_NPC = self.patches(patch_rows(pixels_N3SS.to(self.patches.dtype), self.patch_size))
        if self.class_token_C is not None:
            x_NPC = torch.cat([self.class_token_C.expand(len(x_NPC), 1, -1), x_NPC], dim=1)
        x_NPC = x_NPC + self.position_PC
        x_NPC = self.pre_norm(x_NPC) if self.pre_norm else x_NPC
        states = {0: x_NPC}
        for number, layer in enumerate(self.layers, 1):
            x_NPC = yield from layer(x_NPC)
            if number in kept:
                states[number] = x_NPC
        return torch.cat([states[number] for number in kept], dim=-1) if kept else x_NPC


def patch_rows(pixels_N3SS: Tensor, patch_size: int) -> Tensor:
    """[N, 3, S, S] -> [N, P, 3 patch patch]: the pixels of each patch in the order of a convolution's weights.

    Pixels beyond the last whole patch are dropped, as a convolution does (SigLIP's 384 = 27 x 14 + 6).
    """
    side = pixels_N3SS.shape[2] // patch_size
    whole = pixels_N3SS[..., : side * patch_size, : side * patch_size]
    windows = whole.reshape(-1, 3, side, patch_size, side, patch_size)
    return windows.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def join_patches(states_NPC: Tensor, merge: int) -> Tensor:
    """Join merge x merge neighbouring patches on the last axis: [N, P, C] -> [N, S, S, C merge^2]."""
    side = round(states_NPC.shape[1] ** 0.5) // merge
    squares = torch.unflatten(states_NPC, 1, (side, merge, side, merge))  # [N, S, merge, S, merge, C]
    return squares.transpose(2, 3).flatten(3)

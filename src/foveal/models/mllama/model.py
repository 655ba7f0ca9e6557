"""Llama 3.2 Vision, in the engine: a tower over all tiles of an image, a Llama decoder, cross-attention between layers.

Letters: N tiles of an image, G tiles at most, Y rows of tiles and X columns, P patches of a tile with the class token,
Q the same padded to a multiple of 8, C vision width, J width of all output states together, S states of an image (N P),
L cross-attention layers, T rows of a step, W decoder width, H query heads, K key-value heads, D head_dim.

An image takes one token. Text after it attends to the image in the cross-attention layers, up to the next image. Text
after several neighbouring images attends to all of them. `assemble` returns the keys and values of those layers,
[L, 2, S, K, D], so that no step projects the states again. For 11B in bfloat16 an image of four tiles takes 210 MB; the
states alone would take 52 MB.

Quirks, as published. The tower always runs on G tiles. Real patches attend to padding tiles and padding patches, so
none of the padding can be left out. A row without an image gets nothing from a cross-attention layer, as in Meta's
code. transformers 5.23 gives such a row the mean over all of the request's images, later ones included. That is not
causal, so no cache could keep it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch.nn import functional as F

from foveal.errors import CheckpointError
from foveal.layers.decoder import Decoder, DecoderConfig
from foveal.layers.linear.load import Weights, convolution, load_linear
from foveal.layers.mlp import GatedMLP
from foveal.layers.norm import LayerNorm, RMSNorm
from foveal.layers.pieces import attend, by_rows, one_by_one
from foveal.layers.vision import LayerNames, Normalisation, VisionConfig, VisionLayer, patch_rows
from foveal.models.decoders import decoder_config
from foveal.models.family import ImageTraits, Model
from foveal.models.mllama.processor import tile_grids
from foveal.models.weights import HEAD, PROJECTOR, TEXT, prefix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from foveal.layers.linear.form import Linear
    from foveal.layers.pieces import Pieces
    from foveal.layers.step import AfterLayer
    from foveal.models.checkpoint import Checkpoint
    from foveal.models.family import CropRange, SequenceSlice
    from foveal.types import ImageLayout

LAYER_NAMES = LayerNames("input_layernorm", "self_attn", "o_proj", "post_attention_layernorm")
PADDED_TO = 8  # patches


# --- config -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Config:
    """What the model takes from config.json and preprocessor_config.json."""

    decoder: DecoderConfig
    cross_layers: tuple[int, ...]  # which of the decoder's layers are cross-attention layers
    vision: VisionConfig
    num_global_layers: int
    handed_on: tuple[int, ...]  # layers whose states are output, besides the last layer's
    max_num_tiles: int
    normalise: Normalisation

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> Config:
        """Raises CheckpointError for a setting that is missing or not implemented."""
        vision = checkpoint.config["vision_config"]
        cross = tuple(checkpoint.decoder_config["cross_attention_layers"])
        if 0 in cross or any(layer + 1 in cross for layer in cross):
            raise CheckpointError(f"cross_attention_layers {cross}: each must come behind a layer of another kind")
        names = {"num_attention_heads": vision["attention_heads"], "layer_norm_eps": vision["norm_eps"]}
        return cls(
            decoder=decoder_config(checkpoint),
            cross_layers=cross,
            vision=VisionConfig.read(vision | names),
            num_global_layers=vision["num_global_layers"],
            handed_on=tuple(vision["intermediate_layers_indices"]),
            max_num_tiles=vision["max_num_tiles"],
            normalise=Normalisation.read(checkpoint.preprocessor_config),
        )


# --- the vision tower -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class TileTower:
    """A transformer over the patches of all tiles at once, then another with gates."""

    patches: Linear
    class_token_C: Tensor
    position_PC: Tensor  # gate applied
    tile_position: Tensor  # [aspect ratios + 1, G, P, C], gate applied
    before: Tensor  # [aspect ratios + 1, G, 1, C]: added to a tile's patches, gate applied
    after: Tensor  # as before, between the transformers
    pre_norm: LayerNorm
    post_norm: LayerNorm
    layers: tuple[VisionLayer, ...]
    global_layers: tuple[VisionLayer, ...]
    config: Config

    @classmethod
    def load(cls, weights: Weights, name: str, config: Config) -> TileTower:
        vision, position = config.vision, f"{name}.gated_positional_embedding"
        gate = weights[f"{position}.gate"].tanh()
        position_PC = weights[f"{position}.embedding"]

        def by_tile(part: str, num_rows: int) -> Tensor:
            return torch.unflatten(weights[part], 1, (config.max_num_tiles, num_rows, -1))

        def tile_embedding(part: str) -> Tensor:
            return by_tile(f"{part}.embedding.weight", 1) * weights[f"{part}.gate"].tanh()

        return cls(
            load_linear(weights, f"{name}.patch_embedding", stored=convolution),
            weights[f"{name}.class_embedding"],
            (1 - gate) * position_PC,
            gate * by_tile(f"{position}.tile_embedding.weight", len(position_PC)),
            tile_embedding(f"{name}.pre_tile_positional_embedding"),
            tile_embedding(f"{name}.post_tile_positional_embedding"),
            LayerNorm.load(weights, f"{name}.layernorm_pre", vision.layer_norm_eps),
            LayerNorm.load(weights, f"{name}.layernorm_post", vision.layer_norm_eps),
            tuple(
                VisionLayer.load(weights, f"{name}.transformer.layers.{i}", vision, LAYER_NAMES)
                for i in range(vision.num_hidden_layers)
            ),
            tuple(
                _gated_layer(weights, f"{name}.global_transformer.layers.{i}", vision)
                for i in range(config.num_global_layers)
            ),
            config,
        )

    def __call__(self, tiles_N3SS: Tensor, grid: tuple[int, ...]) -> Pieces[Tensor]:
        """Normalised tiles of one image -> [N, P, J]."""
        num_tiles, num_patches = len(tiles_N3SS), len(self.position_PC)
        aspect_ratio = tile_grids(self.config.max_num_tiles).index((grid[0], grid[1])) + 1
        padded = F.pad(tiles_N3SS.to(self.patches.dtype), (0, 0, 0, 0, 0, 0, 0, self.config.max_num_tiles - num_tiles))
        x_GPC = self.patches(patch_rows(padded, self.config.vision.patch_size)) + self.before[aspect_ratio]
        x_GPC = torch.cat([self.class_token_C.expand(len(x_GPC), 1, -1), x_GPC], dim=1)
        x_GPC = self.pre_norm(x_GPC + self.position_PC + self.tile_position[aspect_ratio])
        x_GQC = F.pad(x_GPC, (0, 0, 0, -num_patches % PADDED_TO))
        is_real = torch.zeros(x_GQC.shape[:2], dtype=torch.bool, device=x_GQC.device)
        is_real[:num_tiles, :num_patches] = True
        mixing = _Padding(is_real.flatten())
        x, handed_on = x_GQC.flatten(0, 1), []
        for i, layer in enumerate(self.layers):
            x = yield from layer(x, mixing)
            if i in self.config.handed_on:
                handed_on.append(x)
        x = (self.post_norm(x).view_as(x_GQC) + self.after[aspect_ratio]).flatten(0, 1)
        for layer in self.global_layers:
            x = yield from layer(x, mixing)
        between = torch.stack(handed_on, dim=-1).flatten(-2)  # for each channel, the states of all these layers
        states = torch.cat([x, between], dim=-1)
        return states.view(*x_GQC.shape[:2], -1)[:num_tiles, :num_patches]


class _Padding:
    """Padding attends to real patches, real patches attend to everything. [H, G Q, D] in, the same out."""

    def __init__(self, is_real: Tensor) -> None:
        self.real, self.padding = is_real.nonzero().flatten(), (~is_real).nonzero().flatten()

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Pieces[Tensor]:
        output, real, padding = torch.empty_like(query), self.real, self.padding
        output[:, real] = (yield from attend(query[None, :, real], key[None], value[None]))[0]
        padded = yield from attend(query[None, :, padding], key[None, :, real], value[None, :, real])
        output[:, padding] = padded[0]
        return output


def _gated_layer(weights: Weights, name: str, config: VisionConfig) -> VisionLayer:
    plain = VisionLayer.load(weights, name, config, LAYER_NAMES)
    gates = (weights[f"{name}.{gate}"].tanh() for gate in ("gate_attn", "gate_ffn"))
    return VisionLayer(plain.attention_norm, plain.attention, plain.mlp_norm, plain.mlp, *gates)


# --- cross-attention --------------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """Rows of a step [start, stop) that attend to the same images, and their keys and values: [L, 2, S, K, D]."""

    start: int
    stop: int
    kv: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class CrossAttentionLayer:
    """A decoder layer with cross-attention; both of its sublayers are gated."""

    norm: RMSNorm
    query: Linear
    key: Linear
    value: Linear
    out: Linear
    query_norm: RMSNorm
    key_norm: RMSNorm
    attention_gate: Tensor
    mlp_norm: RMSNorm
    mlp: GatedMLP
    mlp_gate: Tensor
    head_dim: int

    @classmethod
    def load(cls, weights: Weights, name: str, config: DecoderConfig) -> CrossAttentionLayer:
        query, key, value, out = (load_linear(weights, f"{name}.cross_attn.{part}_proj") for part in "qkvo")
        eps = config.rms_norm_eps
        return cls(
            RMSNorm.load(weights, f"{name}.input_layernorm", eps),
            query,
            key,
            value,
            out,
            RMSNorm.load(weights, f"{name}.cross_attn.q_norm", eps),
            RMSNorm.load(weights, f"{name}.cross_attn.k_norm", eps),
            weights[f"{name}.cross_attn_attn_gate"].tanh(),
            RMSNorm.load(weights, f"{name}.post_attention_layernorm", eps),
            GatedMLP.load(weights, f"{name}.mlp", config.activation),
            weights[f"{name}.cross_attn_mlp_gate"].tanh(),
            config.heads.head_dim,
        )

    def project(self, states_SW: Tensor) -> Tensor:
        """One image's states -> its keys and values in this layer, [2, S, K, D]."""
        key, value = (torch.unflatten(part(states_SW), -1, (-1, self.head_dim)) for part in (self.key, self.value))
        return torch.stack([self.key_norm(key), value])

    def __call__(self, x_TW: Tensor, seen: Sequence[tuple[slice, Tensor]]) -> Tensor:
        """Rows that all attend to images -> the same. seen: consecutive slices of all rows, with keys and values."""
        query_THD = self.query_norm(torch.unflatten(self.query(self.norm(x_TW)), -1, (-1, self.head_dim)))
        attended = [_cross_attention(query_THD[rows], *kv) for rows, kv in seen]
        x_TW = x_TW + self.attention_gate * self.out(torch.cat(attended).flatten(1))
        return x_TW + self.mlp_gate * self.mlp(self.mlp_norm(x_TW))


def _cross_attention(query_THD: Tensor, key_SKD: Tensor, value_SKD: Tensor) -> Tensor:
    query, key, value = (x.transpose(0, 1)[None] for x in (query_THD, key_SKD, value_SKD))
    return F.scaled_dot_product_attention(query, key, value, enable_gqa=True)[0].transpose(0, 1)


def seen_by(part: SequenceSlice) -> list[Seen]:
    """Which rows of a slice attend to which images; rows without an image are in no entry."""
    ranges = visible_ranges([image.spans[0].offset for image in part.images])
    start, stop = part.start, part.start + part.num_tokens
    cuts = sorted({start, stop} | {at for pair in ranges for at in pair if start < at < stop})
    found = []
    for begin, end in pairwise(cuts):
        kv = [
            image.features
            for image, (first, last) in zip(part.images, ranges, strict=True)
            if first <= begin < last and image.features is not None
        ]
        if kv:
            row = part.row - start
            found.append(Seen(row + begin, row + end, kv[0] if len(kv) == 1 else torch.cat(kv, dim=2)))
    return found


def visible_ranges(offsets: Sequence[int]) -> list[tuple[int, int]]:
    """The positions that attend to each image: up to the next image; of neighbours, up to the end of the last's."""
    ranges: list[tuple[int, int]] = []
    for offset in reversed(offsets):
        following = ranges[-1] if ranges else (sys.maxsize, sys.maxsize)
        ranges.append((offset, following[1] if following[0] == offset + 1 else following[0]))
    return ranges[::-1]


# --- the image side ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class MllamaImages:
    """`foveal.models.family.ImageSide`."""

    tower: TileTower
    projector: Linear
    cross_layers: tuple[CrossAttentionLayer, ...]
    config: Config
    traits: ClassVar[ImageTraits] = ImageTraits(splits_images=False, rereads_images=True)

    @classmethod
    def load(cls, weights: Weights, text: str, config: Config) -> MllamaImages:
        return cls(
            TileTower.load(weights, prefix(weights, "vision_model", "model.vision_model"), config),
            load_linear(weights, prefix(weights, *PROJECTOR)),
            tuple(CrossAttentionLayer.load(weights, f"{text}.layers.{i}", config.decoder) for i in config.cross_layers),
            config,
        )

    def encode_crops(self, work: Sequence[CropRange]) -> Pieces[list[Tensor]]:
        """[N, P, J] for each image, which is always whole."""
        return one_by_one([self.tower(self.crops(item), item.layout.grid) for item in work])

    def crops(self, item: CropRange) -> Tensor:
        """The tower's input for an image: float32 [N, 3, S, S]."""
        pixels_3HW = self.config.normalise(item.pixels)
        rows, columns = item.layout.grid
        tiles_3YSXS = torch.unflatten(torch.unflatten(pixels_3HW, 2, (columns, -1)), 1, (rows, -1))
        return tiles_3YSXS.permute(1, 3, 0, 2, 4).flatten(0, 1)

    def assemble(self, layout: ImageLayout, crops: Tensor) -> Pieces[Tensor]:
        """The image's keys and values in the cross-attention layers: [L, 2, S, K, D]."""
        states_SW = yield from by_rows(self.projector, crops.flatten(0, 1))
        projected = []
        for layer in self.cross_layers:
            yield
            projected.append(layer.project(states_SW))
        return torch.stack(projected)

    def place(self, x_TW: Tensor, slices: Sequence[SequenceSlice]) -> AfterLayer | None:
        """Writes nothing into the embeddings; returns the cross-attention layers, which run after the decoder's own."""
        seen = [found for part in slices for found in seen_by(part)]
        if not seen:
            return None
        rows = torch.cat([torch.arange(each.start, each.stop) for each in seen]).to(x_TW.device)
        ends = torch.tensor([0] + [each.stop - each.start for each in seen]).cumsum(0).tolist()
        packed = [slice(*pair) for pair in pairwise(ends)]  # each one's rows among `rows`
        after = {layer - i - 1: i for i, layer in enumerate(self.config.cross_layers)}  # by the own layer before

        def attend_to_images(own_layer: int, x_TW: Tensor) -> Tensor:
            i = after.get(own_layer)
            if i is None:
                return x_TW
            parts = [(part, each.kv[i]) for part, each in zip(packed, seen, strict=True)]
            return x_TW.index_copy(0, rows, self.cross_layers[i](x_TW[rows], parts))

        return attend_to_images


# --- the model --------------------------------------------------------------------------------------------------------


def load(checkpoint: Checkpoint, weights: Weights) -> Model:
    config = Config.read(checkpoint)
    text = prefix(weights, *TEXT)
    own = [i for i in range(config.decoder.num_layers) if i not in config.cross_layers]
    decoder = Decoder.load(weights, text, prefix(weights, *HEAD), config.decoder, own)
    return Model(decoder, MllamaImages.load(weights, text, config))

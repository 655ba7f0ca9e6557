"""InternVL3 in the layout of the transformers library, in the engine: InternViT, joined patches, any text decoder.

Letters: N tiles of an image, S pixels a side, P patches of a tile, C vision width, L tokens of a tile, F tokens of an
image, W decoder width.

Quirks, as published. The sublayers' outputs in the tower are scaled channel by channel. The larger tower (6B) has
RMSNorms, also over queries and keys at their whole width. The larger decoders have "dynamic" rope scaling, which only
applies beyond their context length. No sequence here is longer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from foveal.layers.activation import activation
from foveal.layers.decoder import Decoder, DecoderConfig
from foveal.layers.linear.load import Weights, convolution, load_linear
from foveal.layers.norm import LayerNorm
from foveal.layers.pieces import at_once, by_rows
from foveal.layers.vision import (
    MLP,
    ClipTower,
    LayerNames,
    Normalisation,
    VisionConfig,
    VisionLayer,
    join_patches,
)
from foveal.models.decoders import decoder_config
from foveal.models.family import ImageTraits, Model
from foveal.models.features import encode_together, own_crops, place_features
from foveal.models.internvl.names import renamed
from foveal.models.weights import HEAD, PROJECTOR, TEXT, TOWER, prefix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from foveal.layers.activation import Activation
    from foveal.layers.pieces import Pieces
    from foveal.models.checkpoint import Checkpoint, Settings
    from foveal.models.family import CropRange
    from foveal.types import ImageLayout

LAYER_NAMES = LayerNames("layernorm_before", "attention", "projection_layer", "layernorm_after")
LAYER_NORM_EPS = 1e-5  # of the projector


# --- config -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Config:
    """What the model takes from config.json and preprocessor_config.json."""

    decoder: DecoderConfig
    vision: VisionConfig
    merge: int  # patches a side that become one token
    activation: Activation  # of the projector
    normalise: Normalisation

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> Config:
        """Raises CheckpointError for a setting that is missing or not implemented."""
        config = checkpoint.config
        decoder = decoder_config(checkpoint)
        return cls(
            decoder=replace(decoder, ties_embeddings=config.get("tie_word_embeddings", True)),
            vision=_vision_config(checkpoint.vision_config),
            merge=round(1 / config.get("downsample_ratio", 0.5)),
            activation=activation(config.get("projector_hidden_act", "gelu")),
            normalise=Normalisation.read(checkpoint.preprocessor_config),
        )


def _vision_config(settings: Settings) -> VisionConfig:
    """Sizes are given as one number or as height and width."""
    sizes = {name: settings[name] for name in ("image_size", "patch_size")}
    squares = {name: size[0] if isinstance(size, list) else size for name, size in sizes.items()}
    return VisionConfig.read({**settings, **squares})


# --- the vision tower -------------------------------------------------------------------------------------------------


def load_tower(weights: Weights, name: str, config: VisionConfig) -> ClipTower:
    """InternViT: CLIP's tower with other layers and without the first norm."""
    embeddings = f"{name}.embeddings"
    return ClipTower(
        load_linear(weights, f"{embeddings}.patch_embeddings.projection", stored=convolution),
        weights[f"{embeddings}.cls_token"].flatten(),
        weights[f"{embeddings}.position_embeddings"][0],
        None,
        tuple(_load_layer(weights, f"{name}.encoder.layer.{i}", config) for i in range(config.num_hidden_layers)),
        config.patch_size,
    )


def _load_layer(weights: Weights, name: str, config: VisionConfig) -> VisionLayer:
    plain = VisionLayer.load(weights, name, config, LAYER_NAMES)
    return replace(plain, attention_scale=weights[f"{name}.lambda_1"], mlp_scale=weights[f"{name}.lambda_2"])


# --- the image side ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class InternVLImages:
    """`foveal.models.family.ImageSide`."""

    tower: ClipTower
    tower_norm: LayerNorm | None
    projector_norm: LayerNorm
    projector: MLP
    config: Config
    traits: ClassVar[ImageTraits] = ImageTraits()
    place = staticmethod(place_features)

    @classmethod
    def load(cls, weights: Weights, config: Config) -> InternVLImages:
        tower, projector = prefix(weights, *TOWER), prefix(weights, *PROJECTOR)
        norm, eps = f"{tower}.layernorm", config.vision.layer_norm_eps
        return cls(
            load_tower(weights, tower, config.vision),
            LayerNorm.load(weights, norm, eps) if f"{norm}.weight" in weights else None,
            LayerNorm.load(weights, f"{projector}.layer_norm", LAYER_NORM_EPS),
            MLP.load(weights, f"{projector}.linear_1", f"{projector}.linear_2", config.activation),
            config,
        )

    def encode_crops(self, work: Sequence[CropRange]) -> Pieces[list[Tensor]]:
        """[N, L, W] for each entry."""
        return encode_together(work, self.crops, self._tokens)

    def crops(self, item: CropRange) -> Tensor:
        """The tower's input for a crop range: float32 [N, 3, S, S]."""
        return self.config.normalise(own_crops(item))

    def _tokens(self, pixels_N3SS: Tensor) -> Pieces[Tensor]:
        states_NPC = yield from self.tower(pixels_N3SS)
        states_NPC = (self.tower_norm(states_NPC) if self.tower_norm else states_NPC)[:, 1:]  # no class token
        joined = join_patches(states_NPC, self.config.merge).flatten(1, 2)
        return (yield from by_rows(lambda rows: self.projector(self.projector_norm(rows)), joined))

    def assemble(self, layout: ImageLayout, crops: Tensor) -> Pieces[Tensor]:
        """[F, W]: the tokens of all tiles, in order."""
        return at_once(crops.flatten(0, 1))


# --- the model --------------------------------------------------------------------------------------------------------


def load(checkpoint: Checkpoint, weights: Weights) -> Model:
    config, weights = Config.read(checkpoint), renamed(weights)
    decoder = Decoder.load(weights, prefix(weights, *TEXT), prefix(weights, *HEAD), config.decoder)
    return Model(decoder, InternVLImages.load(weights, config))

"""Idefics3 and SmolVLM, in the engine: SigLIP tower over tiles, patches joined to few tokens, Llama decoder.

Letters: N tiles of an image and the whole, S pixels a side, P patches of a tile, C vision width, L tokens of a tile,
J joined width, F tokens with features of an image, W decoder width.

The published tower takes tiles of any size and finds learned positions by fractional coordinates. Here all tiles have
full size, so a patch's index is its position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from foveal.layers.decoder import Decoder, DecoderConfig
from foveal.layers.linear.load import Weights, load_linear
from foveal.layers.norm import LayerNorm
from foveal.layers.pieces import at_once
from foveal.layers.vision import ClipTower, Normalisation, VisionConfig, join_patches
from foveal.models.decoders import decoder_config
from foveal.models.family import ImageTraits, Model
from foveal.models.features import encode_together, own_crops, place_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from foveal.layers.linear.form import Linear
    from foveal.layers.pieces import Pieces
    from foveal.models.checkpoint import Checkpoint
    from foveal.models.family import CropRange
    from foveal.types import ImageLayout


# --- config -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Config:
    """What the model takes from config.json and preprocessor_config.json."""

    decoder: DecoderConfig
    vision: VisionConfig
    scale_factor: int  # patches a side that become one token
    normalise: Normalisation

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> Config:
        """Raises CheckpointError for a setting that is missing or not implemented."""
        return cls(
            decoder=decoder_config(checkpoint),
            vision=VisionConfig.read(checkpoint.vision_config),
            scale_factor=checkpoint.config.get("scale_factor", 2),
            normalise=Normalisation.read(checkpoint.preprocessor_config),
        )


# --- the image side ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Idefics3Images:
    """`foveal.models.family.ImageSide`."""

    tower: ClipTower
    tower_norm: LayerNorm
    projector: Linear  # [W, J]
    config: Config
    traits: ClassVar[ImageTraits] = ImageTraits()
    place = staticmethod(place_features)

    @classmethod
    def load(cls, weights: Weights, config: Config) -> Idefics3Images:
        tower, vision = "model.vision_model", config.vision
        return cls(
            ClipTower.load(weights, tower, vision, vision.num_hidden_layers),
            LayerNorm.load(weights, f"{tower}.post_layernorm", vision.layer_norm_eps),
            load_linear(weights, "model.connector.modality_projection.proj"),
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
        joined = join_patches(self.tower_norm(states_NPC), self.config.scale_factor)
        return self.projector(joined.flatten(1, 2))

    def assemble(self, layout: ImageLayout, crops: Tensor) -> Pieces[Tensor]:
        """[F, W]: the tokens of all tiles, in order."""
        return at_once(crops.flatten(0, 1))


# --- the model --------------------------------------------------------------------------------------------------------


def load(checkpoint: Checkpoint, weights: Weights) -> Model:
    config = Config.read(checkpoint)
    decoder = Decoder.load(weights, "model.text_model", "lm_head", config.decoder)
    return Model(decoder, Idefics3Images.load(weights, config))

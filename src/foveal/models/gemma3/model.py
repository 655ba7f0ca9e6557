"""Gemma 3, in the engine: SigLIP tower, patches averaged to few tokens, Gemma decoder with two-way image spans.

Letters: N crops, S pixels a side, P patches of a crop, C vision width, F tokens of an image, T rows of a step,
W decoder width.

Quirks, as published. An image's tokens attend to each other in both directions; sliding layers still limit them to the
window. Token embeddings are scaled by sqrt(W), image features are not. The decoder's quirks: foveal.models.decoders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch.nn import functional as F

from foveal.layers.decoder import Decoder, DecoderConfig
from foveal.layers.linear.load import Weights, load_linear, transposed
from foveal.layers.norm import LayerNorm, OffsetRMSNorm
from foveal.layers.pieces import at_once
from foveal.layers.vision import ClipTower, Normalisation, VisionConfig
from foveal.models.decoders import decoder_config
from foveal.models.family import ImageTraits, Model
from foveal.models.features import encode_together, own_crops, place_features
from foveal.models.weights import HEAD, PROJECTOR, TEXT, TOWER, prefix

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
    tokens_a_side: int
    normalise: Normalisation

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> Config:
        """Raises CheckpointError for a setting that is missing or not implemented."""
        return cls(
            decoder=decoder_config(checkpoint),
            vision=VisionConfig.read(checkpoint.vision_config),
            tokens_a_side=int(checkpoint.config.get("mm_tokens_per_image", 256) ** 0.5),
            normalise=Normalisation.read(checkpoint.preprocessor_config),
        )


# --- the projector ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Projector:
    """Averages squares of patches, normalises the means and projects them to the decoder's width."""

    norm: OffsetRMSNorm
    linear: Linear  # [W, C]
    tokens_a_side: int

    @classmethod
    def load(cls, weights: Weights, name: str, config: Config) -> Projector:
        return cls(
            OffsetRMSNorm.load(weights, f"{name}.mm_soft_emb_norm", config.vision.layer_norm_eps),
            load_linear(weights, f"{name}.mm_input_projection_weight", stored=transposed),
            config.tokens_a_side,
        )

    def __call__(self, states_NPC: Tensor) -> Tensor:
        """[N, P, C] -> [N, F, W]"""
        side = round(states_NPC.shape[1] ** 0.5)
        picture_NCSS = torch.unflatten(states_NPC.transpose(1, 2), 2, (side, side))
        means_NCF = F.avg_pool2d(picture_NCSS, side // self.tokens_a_side).flatten(2)
        return self.linear(self.norm(means_NCF.transpose(1, 2)))


# --- the image side ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Gemma3Images:
    """`foveal.models.family.ImageSide`."""

    tower: ClipTower
    tower_norm: LayerNorm
    projector: Projector
    config: Config
    traits: ClassVar[ImageTraits] = ImageTraits(whole_spans=True)
    place = staticmethod(place_features)

    @classmethod
    def load(cls, weights: Weights, config: Config) -> Gemma3Images:
        tower, eps = prefix(weights, *TOWER), config.vision.layer_norm_eps
        return cls(
            ClipTower.load(weights, tower, config.vision, config.vision.num_hidden_layers),
            LayerNorm.load(weights, f"{tower}.post_layernorm", eps),
            Projector.load(weights, prefix(weights, *PROJECTOR), config),
            config,
        )

    def encode_crops(self, work: Sequence[CropRange]) -> Pieces[list[Tensor]]:
        """[N, F, W] for each entry."""
        return encode_together(work, self.crops, self._tokens)

    def crops(self, item: CropRange) -> Tensor:
        """The tower's input for a crop range: float32 [N, 3, S, S]."""
        return self.config.normalise(own_crops(item))

    def _tokens(self, pixels_N3SS: Tensor) -> Pieces[Tensor]:
        states_NPC = yield from self.tower(pixels_N3SS)
        return self.projector(self.tower_norm(states_NPC))

    def assemble(self, layout: ImageLayout, crops: Tensor) -> Pieces[Tensor]:
        return at_once(crops[0])


# --- the model --------------------------------------------------------------------------------------------------------


def load(checkpoint: Checkpoint, weights: Weights) -> Model:
    config = Config.read(checkpoint)
    decoder = Decoder.load(weights, prefix(weights, *TEXT), prefix(weights, *HEAD), config.decoder)
    return Model(decoder, Gemma3Images.load(weights, config))

"""Gemma 4, in the engine: a tower for any image size, or none (unified), and a decoder with layers of two kinds.

Letters: B tokens of an image, C vision width, W decoder width.

Quirks, as published. In the larger models and the unified one an image's tokens attend to each other, in layers with a
window alone. Features are normed without a weight and projected; they are not scaled as token embeddings are. What a
checkpoint has for sounds and videos is left out.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.layers.linear.load import Weights, has_linear, load_linear
from foveal.layers.norm import normed
from foveal.layers.pieces import Pieces, at_once, one_by_one
from foveal.models.family import ImageTraits, Model
from foveal.models.features import place_features
from foveal.models.gemma4.decoder import Gemma4Decoder
from foveal.models.gemma4.embedder import Embedder
from foveal.models.gemma4.settings import DecoderSettings
from foveal.models.gemma4.tower import Tower, TowerSettings
from foveal.models.weights import HEAD, TEXT, TOWER, prefix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from foveal.layers.linear.form import Linear
    from foveal.models.checkpoint import Checkpoint
    from foveal.models.family import CropRange
    from foveal.types import ImageLayout

log = logging.getLogger(__name__)


# --- config -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Config:
    """What the model takes from config.json."""

    decoder: DecoderSettings
    tower: TowerSettings | None  # None: of the unified model, or of a text model
    token_size: int  # pixels a side
    eps: float  # of the features' norm

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> Config:
        """Raises CheckpointError for a setting that is missing or not implemented."""
        decoder = DecoderSettings.read(checkpoint)
        if checkpoint.config.get("vision_config") is None:
            return cls(decoder, None, 0, 0.0)
        vision = checkpoint.vision_config
        has_tower = checkpoint.model_type == "gemma4"
        return cls(
            decoder,
            TowerSettings.read(vision) if has_tower else None,
            vision["patch_size"] * vision["pooling_kernel_size"],
            vision["rms_norm_eps"],
        )


# --- the image side ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Gemma4Images:
    """`foveal.models.family.ImageSide`."""

    tower: Tower | Embedder
    projection: Linear  # [W, C]
    eps: float
    traits: ImageTraits
    place = staticmethod(place_features)

    @classmethod
    def load(cls, weights: Weights, config: Config) -> Gemma4Images:
        projector = prefix(weights, "model.embed_vision", "embed_vision")
        inner = f"{projector}.multimodal_embedder"
        return cls(
            _load_tower(weights, config, projector),
            load_linear(weights, f"{_first(weights, inner, projector)}.embedding_projection"),
            config.eps,
            ImageTraits(splits_images=False, whole_spans=config.decoder.two_way_images, spans_need_window=True),
        )

    def encode_crops(self, work: Sequence[CropRange]) -> Pieces[list[Tensor]]:
        """[B, W] for each image, which is always whole; its crops only measure the work."""
        return one_by_one([self._encode(self.pixels(item)) for item in work])

    def pixels(self, item: CropRange) -> Tensor:
        """The tower's input for an image: float32 [height, width, 3]."""
        shares = item.pixels / 255
        return shares if isinstance(self.tower, Embedder) else 2 * (shares - 0.5)

    def _encode(self, pixels_HW3: Tensor) -> Pieces[Tensor]:
        states_BC = yield from self.tower(pixels_HW3)
        return self.projection(normed(states_BC, self.eps))

    def assemble(self, layout: ImageLayout, crops: Tensor) -> Pieces[Tensor]:
        return at_once(crops)


def _load_tower(weights: Weights, config: Config, projector: str) -> Tower | Embedder:
    if config.tower:
        return Tower.load(weights, prefix(weights, *TOWER), config.tower)
    name = prefix(weights, "model.vision_embedder", "vision_embedder", projector)
    return Embedder.load(weights, name, config.token_size)


def _first(weights: Weights, *names: str) -> str:
    """The first that has the projection."""
    return next((name for name in names if has_linear(weights, f"{name}.embedding_projection")), names[-1])


# --- the model --------------------------------------------------------------------------------------------------------


def load(checkpoint: Checkpoint, weights: Weights) -> Model:
    config = Config.read(checkpoint)
    name = prefix(weights, *TEXT, "model")
    decoder = Gemma4Decoder.load(weights, name, prefix(weights, *HEAD), config.decoder)
    if checkpoint.config.get("audio_config"):
        log.info("%s: what the checkpoint has for sounds is left out", checkpoint.folder)
    return Model(decoder, Gemma4Images.load(weights, config) if config.token_size else None)

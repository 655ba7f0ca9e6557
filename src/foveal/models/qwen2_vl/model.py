"""The Qwen-VL models and Qwen3.5, in the engine: a tower for any image size, a Qwen decoder, three-row positions.

Letters: T rows of a step, B tokens (blocks) of an image, W decoder width, E feature sets of an image. One
replaces the tokens' embeddings, the others (Qwen3-VL's DeepStack) are added after the decoder's first layers.

Quirks, as published. A token's position has three rows (time, height, width), equal for text. An image's tokens share
their time. Text after it continues past its larger side, so positions grow more slowly than the token count. The tower
takes pairs of frames; an image is two equal frames, so the two weights are added at load. Qwen2.5-VL's windows begin at
the upper left, and those at the right and lower edges may be smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from foveal.errors import CheckpointError
from foveal.layers.decoder import Decoder, DecoderConfig
from foveal.layers.grid_vision import GridConfig, GridTower
from foveal.layers.linear.load import Weights
from foveal.layers.pieces import at_once, one_by_one
from foveal.layers.step import Positions
from foveal.layers.vision import Normalisation
from foveal.models.decoders import decoder_config
from foveal.models.family import ImageTraits, Model
from foveal.models.features import place_feature_sets
from foveal.models.weights import prefix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from foveal.layers.pieces import Pieces
    from foveal.layers.rope import Rope
    from foveal.models.checkpoint import Checkpoint
    from foveal.models.family import CropRange
    from foveal.types import ImageLayout, Prompt


# --- config -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Config:
    """What the model takes from config.json and preprocessor_config.json."""

    decoder: DecoderConfig
    vision: GridConfig
    normalise: Normalisation

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> Config:
        """Raises CheckpointError for a setting that is missing or not implemented."""
        vision = checkpoint.vision_config
        merged = tuple(vision.get("deepstack_visual_indexes", ()))
        if list(merged) != sorted(merged):
            raise CheckpointError(f"{vision.place}: deepstack_visual_indexes has to grow from layer to layer")
        return cls(
            decoder=decoder_config(checkpoint),
            vision=GridConfig(
                num_layers=vision["depth"],
                num_heads=vision["num_heads"],
                patch_size=vision["patch_size"],
                merge_size=vision["spatial_merge_size"],
                hidden_act=vision["hidden_act"],
                window_size=vision.get("window_size"),
                full_layers=tuple(vision.get("fullatt_block_indexes", ())),
                merged_layers=merged,
            ),
            normalise=Normalisation.read(checkpoint.preprocessor_config),
        )


# --- the image side ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Qwen2VLImages:
    """`foveal.models.family.ImageSide`."""

    tower: GridTower
    config: Config
    traits: ClassVar[ImageTraits] = ImageTraits(splits_images=False)
    place = staticmethod(place_feature_sets)

    @classmethod
    def load(cls, weights: Weights, config: Config) -> Qwen2VLImages:
        return cls(GridTower.load(weights, prefix(weights, "visual", "model.visual"), config.vision), config)

    def encode_crops(self, work: Sequence[CropRange]) -> Pieces[list[Tensor]]:
        """[B, E W] for each image, which is always whole; its crops only measure the work."""
        return one_by_one([self.tower(self.pixels(item)) for item in work])

    def pixels(self, item: CropRange) -> Tensor:
        """The tower's input for an image: float32 [3, height, width]."""
        return self.config.normalise(item.pixels)

    def assemble(self, layout: ImageLayout, crops: Tensor) -> Pieces[Tensor]:
        return at_once(crops)


# --- positions --------------------------------------------------------------------------------------------------------


def grid_positions(prompt: Prompt, rope: Rope, max_total_tokens: int) -> Positions:
    """Text counts up in all rows; an image's tokens form a grid, and text continues past its larger side."""
    parts, token, position = [], 0, 0
    for image in prompt.images:
        span, grid = image.spans[0], image.image.layout.grid
        parts += [_counted(position, span.offset - token), _grid(position + span.offset - token, grid)]
        position += span.offset - token + max(grid)
        token = span.end
    parts.append(_counted(position, len(prompt.token_ids) - token))
    return Positions(np.concatenate(parts, axis=1), delta=position - token)


def _counted(start: int, num_tokens: int) -> NDArray[np.int64]:
    """Positions of text: [3, num_tokens]."""
    return np.broadcast_to(np.arange(start, start + num_tokens), (3, num_tokens))


def _grid(start: int, grid: tuple[int, ...]) -> NDArray[np.int64]:
    """Positions of an image: [3, rows * columns]."""
    rows, columns = np.indices(grid).reshape(2, -1)
    return start + np.stack([np.zeros_like(rows), rows, columns])


# --- the model --------------------------------------------------------------------------------------------------------


def load(checkpoint: Checkpoint, weights: Weights) -> Model:
    config = Config.read(checkpoint)
    text = prefix(weights, "model.language_model", "model")
    decoder = Decoder.load(weights, text, "lm_head", config.decoder, count_positions=grid_positions)
    return Model(decoder, Qwen2VLImages.load(weights, config))

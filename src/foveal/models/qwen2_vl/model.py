"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL, in the engine: a tower for any picture size, a Qwen decoder, three-row positions.

Letters: T rows of a step, B tokens (blocks) of an image, W decoder width, E feature sets of an image: one takes the
tokens' place, the others (Qwen3-VL's DeepStack) are added behind the decoder's first layers.

Quirks, as published. A token's position has three rows (time, height, width), alike for text; an image's tokens share
their time, and the text behind it goes on past its larger side, so that generated tokens lag behind their place. The
tower was trained on pairs of frames; a picture is two equal ones, whose weights are added up at load. Qwen2.5-VL's
windows, cut from the upper left, are whole but for those at the right and lower edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from foveal.layers.decoder import Decoder, DecoderConfig
from foveal.layers.grid_vision import GridConfig, GridTower
from foveal.layers.vision import Normalisation
from foveal.models.decoders import decoder_config, kv_shape
from foveal.models.family import Positions, feature_rows
from foveal.models.weights import prefix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from foveal.models.checkpoint import Checkpoint
    from foveal.models.family import CropRange, InputBatch
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
        vision = checkpoint.config["vision_config"]
        return cls(
            decoder=decoder_config(checkpoint),
            vision=GridConfig(
                num_layers=vision["depth"],
                num_heads=vision["num_heads"],
                patch_size=vision["patch_size"],
                merge_size=vision["spatial_merge_size"],
                hidden_act=vision.get("hidden_act", "quick_gelu"),
                window_size=vision.get("window_size"),
                full_layers=tuple(vision.get("fullatt_block_indexes", ())),
                merged_layers=tuple(vision.get("deepstack_visual_indexes", ())),
            ),
            normalise=Normalisation.read(checkpoint.preprocessor_config),
        )


# --- the model --------------------------------------------------------------------------------------------------------


class Qwen2VL:
    """A loaded checkpoint: `foveal.models.family.Model`."""

    splits_images = False
    whole_spans = False
    rereads_images = False

    def __init__(self, config: Config, tensors: Mapping[str, Tensor]) -> None:
        text = prefix(tensors, "model.language_model", "model")
        self.config = config
        self.tower = GridTower.load(tensors, prefix(tensors, "visual", "model.visual"), config.vision)
        self.decoder = Decoder.load(tensors, text, "lm_head", config.decoder)
        self.kv_shape = kv_shape(config.decoder)
        self.max_model_len = config.decoder.max_model_len
        self.vocab_size = config.decoder.vocab_size

    def positions(self, prompt: Prompt, max_total_tokens: int) -> Positions:
        """Text counts on in all rows; an image's tokens lie in a grid, and count as many as its larger side."""
        parts, token, position = [], 0, 0
        for image in prompt.images:
            span, grid = image.spans[0], image.image.layout.grid
            parts += [_counted(position, span.offset - token), _grid(position + span.offset - token, grid)]
            position += span.offset - token + max(grid)
            token = span.end
        parts.append(_counted(position, len(prompt.token_ids) - token))
        return Positions(np.concatenate(parts, axis=1), delta=position - token)

    @torch.inference_mode()
    def encode_crops(self, work: Sequence[CropRange]) -> list[Tensor]:
        """[B, E W] for each image, which is always whole; its units of work only say how much it is."""
        return [self.tower(self.pixels(item)) for item in work]

    def pixels(self, item: CropRange) -> Tensor:
        """What the tower sees of an image: float32 [3, height, width]."""
        return self.config.normalise(item.pixels.to(self.decoder.embedding.device))

    @torch.inference_mode()
    def assemble(self, layout: ImageLayout, crops: Tensor) -> Tensor:
        return crops

    @torch.inference_mode()
    def forward(self, batch: InputBatch, kv_cache: Tensor) -> Tensor:
        x_TW = self.decoder.embed(batch.token_ids_T)
        width = x_TW.shape[1]
        placed = [
            (row, torch.split(features, width, dim=1))
            for piece in batch.slices
            for row, features in feature_rows(piece)
        ]
        for row, (own, *_) in placed:
            x_TW[row : row + len(own)] = own

        def add_features(layer: int, x_TW: Tensor) -> Tensor:
            for row, (_, *added) in placed:
                if layer < len(added):
                    x_TW[row : row + len(added[layer])] += added[layer]
            return x_TW

        return self.decoder(x_TW, batch.positions_RT, batch.attention, kv_cache, after_layer=add_features)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        return self.decoder.logits(hidden)


def load(checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> Qwen2VL:
    return Qwen2VL(Config.read(checkpoint), tensors)


def _counted(start: int, num_tokens: int) -> NDArray[np.int64]:
    """Positions of text: [3, num_tokens]."""
    return np.broadcast_to(np.arange(start, start + num_tokens), (3, num_tokens))


def _grid(start: int, grid: tuple[int, ...]) -> NDArray[np.int64]:
    """Positions of an image: [3, rows * columns]."""
    rows, columns = np.indices(grid).reshape(2, -1)
    return start + np.stack([np.zeros_like(rows), rows, columns])

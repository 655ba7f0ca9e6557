"""Phi-3-vision and Phi-3.5-vision, in the engine: CLIP tower, two-layer projector, Phi-3 decoder.

Letters: N crops, X pixels a side of a crop, P patches of a crop, C vision width, S = sqrt(P) / 2 tokens a side of a
crop, J = 4 C joined width, F tokens of an image, T rows of a step, W decoder width.

Quirks, as published. The last layer of the tower is not used (`layer_idx` -2: the hidden state before it), nor is the
class token. 2 x 2 neighbouring patches are joined. A learned separator ends each row of tokens, another one is between
the crops and the whole. The whole is a bicubic reduction, without antialiasing, of the *normalised* padded image. The
rope frequencies, and with them all keys, change beyond the original context length. So they are chosen once for a
sequence, by its greatest possible length, and cached keys stay valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch.nn import functional as F

from foveal.errors import CheckpointError
from foveal.layers.decoder import Decoder, DecoderConfig
from foveal.layers.linear.load import Weights, load_linear
from foveal.layers.pieces import by_rows
from foveal.layers.vision import ClipTower, Normalisation, VisionConfig, join_patches
from foveal.models.family import ImageTraits, Model
from foveal.models.features import encode_together, place_features

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
    num_vision_layers: int  # of the tower's layers, how many are run
    normalise: Normalisation

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> Config:
        """Raises CheckpointError for a setting that is missing or not implemented."""
        config, tower = checkpoint.config, checkpoint.config["img_processor"]
        vision = VisionConfig.read(tower.get("vision_config", {}))
        order = config.get("embd_layer", {}).get("hd_transform_order", "sub_glb")
        if order != "sub_glb":
            raise CheckpointError(f"the checkpoint has hd_transform_order {order!r}; only sub_glb can be served")
        layer = tower.get("layer_idx", -2)  # which hidden state; state 0 is before the first layer
        return cls(
            decoder=DecoderConfig.read(config),
            vision=vision,
            num_vision_layers=layer % (vision.num_hidden_layers + 1),
            normalise=Normalisation.read(checkpoint.preprocessor_config),
        )


# --- the projector ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Projector:
    """Arranges an image's crops as rows of tokens and projects them to the decoder's width."""

    row_end_J: Tensor  # published as sub_GN
    before_whole_J: Tensor  # published as glb_GN
    fc1: Linear  # [W, J]
    fc2: Linear  # [W, W]

    @classmethod
    def load(cls, weights: Weights, name: str) -> Projector:
        return cls(
            weights[f"{name}.sub_GN"].flatten(),
            weights[f"{name}.glb_GN"].flatten(),
            load_linear(weights, f"{name}.img_projection.0"),
            load_linear(weights, f"{name}.img_projection.2"),
        )

    def __call__(self, crops_NSSJ: Tensor, num_rows: int, num_columns: int) -> Pieces[Tensor]:
        """The whole, then the crops row by row (or one crop that is both) -> [F, W]."""
        grid = torch.unflatten(crops_NSSJ[-num_rows * num_columns :], 0, (num_rows, num_columns))
        rows = grid.transpose(1, 2).flatten(2, 3).flatten(0, 1)  # [rows S, columns S, J]
        tokens_FJ = torch.cat([self._end_rows(rows), self.before_whole_J[None], self._end_rows(crops_NSSJ[0])])
        return by_rows(lambda rows_J: self.fc2(F.gelu(self.fc1(rows_J))), tokens_FJ)

    def _end_rows(self, rows: Tensor) -> Tensor:
        """[height, width, J] -> [height (width + 1), J]"""
        return torch.cat([rows, self.row_end_J.expand(len(rows), 1, -1)], dim=1).flatten(0, 1)


# --- the image side ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Phi3VImages:
    """`foveal.models.family.ImageSide`."""

    tower: ClipTower
    projector: Projector
    config: Config
    traits: ClassVar[ImageTraits] = ImageTraits()
    place = staticmethod(place_features)

    @classmethod
    def load(cls, weights: Weights, config: Config) -> Phi3VImages:
        vision = "model.vision_embed_tokens"
        tower = f"{vision}.img_processor.vision_model"
        return cls(
            ClipTower.load(weights, tower, config.vision, config.num_vision_layers),
            Projector.load(weights, vision),
            config,
        )

    def encode_crops(self, work: Sequence[CropRange]) -> Pieces[list[Tensor]]:
        """[N, S, S, J] for each entry. Unit 0 is the whole, the crops follow row by row."""
        return encode_together(work, self.crops, self._joined)

    def crops(self, item: CropRange) -> Tensor:
        """The tower's input for a crop range: float32 [N, 3, X, X]."""
        size, pixels_3HW = self.config.vision.image_size, self.config.normalise(item.pixels)
        crops = []
        for unit in range(item.start, item.stop):
            if unit == 0:
                crops.append(F.interpolate(pixels_3HW[None], (size, size), mode="bicubic", align_corners=False))
            else:
                row, column = divmod(unit - 1, item.layout.grid[1])
                crops.append(pixels_3HW[None, :, row * size :, column * size :][..., :size, :size])
        return torch.cat(crops)

    def _joined(self, pixels_N3XX: Tensor) -> Pieces[Tensor]:
        states_NPC = yield from self.tower(pixels_N3XX)
        return join_patches(states_NPC[:, 1:], 2)

    def assemble(self, layout: ImageLayout, crops: Tensor) -> Pieces[Tensor]:
        return self.projector(crops, *layout.grid)


# --- the model --------------------------------------------------------------------------------------------------------


def load(checkpoint: Checkpoint, weights: Weights) -> Model:
    config = Config.read(checkpoint)
    return Model(Decoder.load(weights, "model", "lm_head", config.decoder), Phi3VImages.load(weights, config))

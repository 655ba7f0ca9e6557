"""LLaVA 1.5 and LLaVA-NeXT (1.6), in the engine: CLIP or SigLIP tower, two-layer projector, any text decoder.

Letters: N crops, S pixels a side of a crop, P tokens of a crop, C vision width, F tokens of an image, W decoder width.

Quirks, as published. The hidden state before the tower's last layer is used, in most checkpoints without the class
token; or the states after several layers, side by side (Granite Vision). LLaVA-NeXT joins the tokens of all crops into
rows over the image. Tokens of the canvas's padding are left out, and a learned separator ends each row. A very narrow
image has no row left. An image of only the whole ends with one separator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from foveal.errors import CheckpointError
from foveal.layers.activation import activation
from foveal.layers.decoder import Decoder, DecoderConfig
from foveal.layers.linear.load import Weights
from foveal.layers.pieces import at_once, by_rows
from foveal.layers.vision import MLP, ClipTower, Normalisation, VisionConfig
from foveal.models.decoders import decoder_config
from foveal.models.family import ImageTraits, Model
from foveal.models.features import encode_together, own_crops, place_features
from foveal.models.weights import HEAD, PROJECTOR, TEXT, TOWER, prefix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from foveal.layers.activation import Activation
    from foveal.layers.pieces import Pieces
    from foveal.models.checkpoint import Checkpoint, Settings
    from foveal.models.family import CropRange
    from foveal.types import ImageLayout


# --- config -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Config:
    """What the model takes from config.json and preprocessor_config.json."""

    decoder: DecoderConfig
    vision: VisionConfig
    vision_layers: tuple[int, ...]  # the tower's states after so many layers are its features, side by side
    drops_first: bool  # the first state of a crop, which is the class token
    activation: Activation  # of the projector
    normalise: Normalisation
    feature_scale: float  # Granite scales features as it does embeddings

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> Config:
        """Raises CheckpointError for a setting that is missing or not implemented."""
        config = checkpoint.config
        vision, layers = VisionConfig.read(checkpoint.vision_config), config.get("vision_feature_layer", -2)
        decoder = decoder_config(checkpoint)
        is_granite = checkpoint.decoder_config["model_type"] == "granite"
        return cls(
            decoder=decoder,
            vision=vision,
            vision_layers=_layer_numbers(config, layers if isinstance(layers, list) else [layers], vision),
            drops_first=config.get("vision_feature_select_strategy", "default") == "default",
            activation=activation(config.get("projector_hidden_act", "gelu")),
            normalise=Normalisation.read(checkpoint.preprocessor_config),
            feature_scale=decoder.embedding_scale if is_granite else 1.0,
        )


def _layer_numbers(config: Settings, layers: list[int], vision: VisionConfig) -> tuple[int, ...]:
    """Counted from 0, which is the state before the first layer. Raises CheckpointError for one beyond the tower."""
    num_states = vision.num_hidden_layers + 1
    if not all(-num_states <= layer < num_states for layer in layers):
        raise CheckpointError(f"{config.place}: vision_feature_layer is {layers}, of {num_states - 1} layers")
    return tuple(layer % num_states for layer in layers)


# --- the image side ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class LlavaImages:
    """`foveal.models.family.ImageSide`."""

    tower: ClipTower
    projector: MLP
    row_end_W: Tensor | None  # LLaVA-NeXT's
    config: Config
    traits: ClassVar[ImageTraits] = ImageTraits()
    place = staticmethod(place_features)

    @classmethod
    def load(cls, weights: Weights, config: Config) -> LlavaImages:
        tower, projector = prefix(weights, *TOWER), prefix(weights, *PROJECTOR)
        newline = prefix(weights, "image_newline", "model.image_newline")
        ends_rows = newline in weights
        return cls(
            ClipTower.load(weights, tower, config.vision, max(config.vision_layers)),
            MLP.load(weights, f"{projector}.linear_1", f"{projector}.linear_2", config.activation),
            weights[newline] if ends_rows else None,
            config,
        )

    def encode_crops(self, work: Sequence[CropRange]) -> Pieces[list[Tensor]]:
        """[N, P, W] for each entry."""
        return encode_together(work, self.crops, self._tokens)

    def crops(self, item: CropRange) -> Tensor:
        """The tower's input for a crop range: float32 [N, 3, S, S]."""
        return self.config.normalise(own_crops(item))

    def _tokens(self, pixels_N3SS: Tensor) -> Pieces[Tensor]:
        states_NPC = yield from self.tower(pixels_N3SS, self.config.vision_layers)
        return (yield from by_rows(self.projector, states_NPC[:, 1 if self.config.drops_first else 0 :]))

    def assemble(self, layout: ImageLayout, crops: Tensor) -> Pieces[Tensor]:
        """[F, W]"""
        if self.row_end_W is None:
            return at_once(crops[0] * self.config.feature_scale)
        rows = self._rows(layout.grid, crops[1:]) if len(crops) > 1 else self.row_end_W[None]
        return at_once(torch.cat([crops[0], rows]) * self.config.feature_scale)

    def _rows(self, grid: tuple[int, ...], crops_NPW: Tensor) -> Tensor:
        """The crops' tokens as rows over the image, without padding, a separator after each row."""
        rows, columns, token_rows, token_columns = grid
        side = round(crops_NPW.shape[1] ** 0.5)
        tokens = torch.unflatten(torch.unflatten(crops_NPW, 1, (side, side)), 0, (rows, columns))
        tokens = tokens.transpose(1, 2).flatten(2, 3).flatten(0, 1)  # [rows side, columns side, W]
        top, left = (tokens.shape[0] - token_rows) // 2, (tokens.shape[1] - token_columns) // 2
        tokens = tokens[top : top + token_rows, left : left + token_columns]
        assert self.row_end_W is not None
        return torch.cat([tokens, self.row_end_W.expand(token_rows, 1, -1)], dim=1).flatten(0, 1)


# --- the model --------------------------------------------------------------------------------------------------------


def load(checkpoint: Checkpoint, weights: Weights) -> Model:
    config = Config.read(checkpoint)
    decoder = Decoder.load(weights, prefix(weights, *TEXT), prefix(weights, *HEAD), config.decoder)
    return Model(decoder, LlavaImages.load(weights, config))

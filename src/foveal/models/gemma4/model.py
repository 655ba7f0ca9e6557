"""Gemma 4, in the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.models.family import Model
from foveal.models.gemma4.decoder import Gemma4Decoder
from foveal.models.gemma4.settings import DecoderSettings
from foveal.models.weights import HEAD, TEXT, prefix

if TYPE_CHECKING:
    from foveal.layers.linear.load import Weights
    from foveal.models.checkpoint import Checkpoint


def load(checkpoint: Checkpoint, weights: Weights) -> Model:
    settings = DecoderSettings.read(checkpoint)
    name = prefix(weights, *TEXT, "model")
    return Model(Gemma4Decoder.load(weights, name, prefix(weights, *HEAD), settings))

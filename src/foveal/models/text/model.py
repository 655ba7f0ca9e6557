"""Text models: Llama, Mistral, Qwen2, Qwen3, Phi-3 and Phi-4-mini, Gemma 3 (text), and models with the same layout.

Quirks: all differences are in the checkpoint's settings and tensors (see foveal.layers.decoder). "dynamic" rope scaling
only applies beyond the context length, and no sequence here is longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.layers.decoder import Decoder
from foveal.models.decoders import decoder_config
from foveal.models.family import Model

if TYPE_CHECKING:
    from foveal.layers.linear.load import Weights
    from foveal.models.checkpoint import Checkpoint


def load(checkpoint: Checkpoint, weights: Weights) -> Model:
    return Model(Decoder.load(weights, "model", "lm_head", decoder_config(checkpoint)))

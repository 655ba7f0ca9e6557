"""Decoders alone: Llama, Mistral, Qwen2, Qwen3, Phi-3 and Phi-4-mini, Gemma 3 (text), and what shares their layout.

Quirks: all differences lie in the checkpoint's settings and tensors (see foveal.layers.decoder). Rope scaling of the
"dynamic" kind only acts beyond the context length, which is never exceeded here.
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

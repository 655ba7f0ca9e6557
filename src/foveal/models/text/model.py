"""Decoders alone: Llama, Mistral, Qwen2, Qwen3, Phi-3 and Phi-4-mini, Gemma 3 (text), and what shares their layout.

Quirks: all differences lie in the checkpoint's settings and tensors (see foveal.layers.decoder). Rope scaling of the
"dynamic" kind only acts beyond the context length, which is never exceeded here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from foveal.layers.decoder import Decoder
from foveal.models.decoders import decoder_config, kv_shape
from foveal.models.family import counted_positions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from foveal.layers.decoder import DecoderConfig
    from foveal.models.checkpoint import Checkpoint
    from foveal.models.family import CropRange, InputBatch, Positions
    from foveal.types import ImageLayout, Prompt


class TextModel:
    """A loaded checkpoint: `foveal.models.family.Model`."""

    splits_images = True
    whole_spans = False
    rereads_images = False

    def __init__(self, config: DecoderConfig, tensors: Mapping[str, Tensor]) -> None:
        self.decoder = Decoder.load(tensors, "model", "lm_head", config)
        self.kv_shape = kv_shape(config)
        self.max_model_len = config.max_model_len
        self.vocab_size = config.vocab_size

    def positions(self, prompt: Prompt, max_total_tokens: int) -> Positions:
        return counted_positions(prompt, self.decoder.rope, max_total_tokens)

    def encode_crops(self, work: Sequence[CropRange]) -> list[Tensor]:
        """Never called: without a processor no prompt has images."""
        raise NotImplementedError("a text model encodes no images")

    def assemble(self, layout: ImageLayout, crops: Tensor) -> Tensor:
        """Never called, as `encode_crops`."""
        raise NotImplementedError("a text model encodes no images")

    @torch.inference_mode()
    def forward(self, batch: InputBatch, kv_cache: Tensor) -> Tensor:
        x_TW = self.decoder.embed(batch.token_ids_T)
        return self.decoder(x_TW, batch.positions_RT, batch.attention, kv_cache)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        return self.decoder.logits(hidden)


def load(checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> TextModel:
    return TextModel(decoder_config(checkpoint), tensors)

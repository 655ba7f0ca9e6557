"""Idefics3 and SmolVLM, in the engine: SigLIP tower over tiles, patches joined to few tokens, Llama decoder.

Letters: N tiles and whole of an image, S pixels a side, P patches of a tile, C vision width, L tokens of a tile,
J joined width, F tokens with features of an image, W decoder width.

The published tower takes tiles of any size and finds a patch's learned position by fractions; every tile is whole here,
and then a patch's position is its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from foveal.layers.decoder import Decoder, DecoderConfig
from foveal.layers.linear import Linear
from foveal.layers.norm import LayerNorm
from foveal.layers.vision import ClipTower, Normalisation, VisionConfig, join_patches
from foveal.models.decoders import decoder_config, kv_shape
from foveal.models.family import counted_positions
from foveal.models.features import embed_with_features, encode_together, own_crops

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from foveal.models.checkpoint import Checkpoint
    from foveal.models.family import CropRange, InputBatch, Positions
    from foveal.types import ImageLayout, Prompt


# --- config -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Config:
    """What the model takes from config.json and preprocessor_config.json."""

    decoder: DecoderConfig
    vision: VisionConfig
    scale_factor: int  # patches a side that become one token
    normalise: Normalisation

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> Config:
        """Raises CheckpointError for a setting that is missing or not implemented."""
        return cls(
            decoder=decoder_config(checkpoint),
            vision=VisionConfig.read(checkpoint.vision_config),
            scale_factor=checkpoint.config.get("scale_factor", 2),
            normalise=Normalisation.read(checkpoint.preprocessor_config),
        )


# --- the model --------------------------------------------------------------------------------------------------------


class Idefics3:
    """A loaded checkpoint: `foveal.models.family.Model`."""

    splits_images = True
    whole_spans = False
    rereads_images = False

    def __init__(self, config: Config, tensors: Mapping[str, Tensor]) -> None:
        self.config = config
        self.tower = ClipTower.load(tensors, "model.vision_model", config.vision, config.vision.num_hidden_layers)
        self.tower_norm = LayerNorm.load(tensors, "model.vision_model.post_layernorm", config.vision.layer_norm_eps)
        self.projector = Linear.load(tensors, "model.connector.modality_projection.proj")  # [W, J]
        self.decoder = Decoder.load(tensors, "model.text_model", "lm_head", config.decoder)
        self.kv_shape = kv_shape(config.decoder)
        self.max_model_len = config.decoder.max_model_len
        self.vocab_size = config.decoder.vocab_size

    def positions(self, prompt: Prompt, max_total_tokens: int) -> Positions:
        return counted_positions(prompt, self.decoder.rope, max_total_tokens)

    @torch.inference_mode()
    def encode_crops(self, work: Sequence[CropRange]) -> list[Tensor]:
        """[N, L, W] for each entry."""
        return encode_together(work, self.crops, self._tokens)

    def crops(self, item: CropRange) -> Tensor:
        """What the tower sees of a crop range: float32 [N, 3, S, S]."""
        return self.config.normalise(own_crops(item, self.decoder.embedding.device))

    def _tokens(self, pixels_N3SS: Tensor) -> Tensor:
        states_NPC = self.tower_norm(self.tower(pixels_N3SS))
        return self.projector(join_patches(states_NPC, self.config.scale_factor).flatten(1, 2))

    @torch.inference_mode()
    def assemble(self, layout: ImageLayout, crops: Tensor) -> Tensor:
        """[F, W]: the tokens of one tile after the other."""
        return crops.flatten(0, 1)

    @torch.inference_mode()
    def forward(self, batch: InputBatch, kv_cache: Tensor) -> Tensor:
        x_TW = embed_with_features(self.decoder, batch)
        return self.decoder(x_TW, batch.positions_RT, batch.attention, kv_cache)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        return self.decoder.logits(hidden)


def load(checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> Idefics3:
    return Idefics3(Config.read(checkpoint), tensors)

"""Gemma 3, in the engine: SigLIP tower, patches averaged to few tokens, Gemma decoder with two-way image spans.

Letters: N crops, S pixels a side, P patches of a crop, C vision width, F tokens of an image, T rows of a step,
W decoder width.

Quirks, as published. An image's tokens see one another in both directions, within the window of the sliding layers,
too. Token embeddings are scaled by sqrt(W), image features are not. (The decoder's own: foveal.models.decoders.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from foveal.layers.decoder import Decoder, DecoderConfig
from foveal.layers.linear import Linear
from foveal.layers.norm import LayerNorm, OffsetRMSNorm
from foveal.layers.vision import ClipTower, Normalisation, VisionConfig
from foveal.models.decoders import decoder_config, kv_shape
from foveal.models.family import counted_positions
from foveal.models.features import embed_with_features, encode_together, own_crops
from foveal.models.weights import HEAD, PROJECTOR, TEXT, TOWER, prefix

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
    tokens_a_side: int
    normalise: Normalisation

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> Config:
        """Raises CheckpointError for a setting that is missing or not implemented."""
        return cls(
            decoder=decoder_config(checkpoint),
            vision=VisionConfig.read(checkpoint.vision_config),
            tokens_a_side=int(checkpoint.config.get("mm_tokens_per_image", 256) ** 0.5),
            normalise=Normalisation.read(checkpoint.preprocessor_config),
        )


# --- the projector ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Projector:
    """Squares of patches -> their mean, normalised and taken to the decoder's width."""

    norm: OffsetRMSNorm
    linear: Linear  # [W, C]
    tokens_a_side: int

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], name: str, config: Config) -> Projector:
        return cls(
            OffsetRMSNorm.load(tensors, f"{name}.mm_soft_emb_norm", config.vision.layer_norm_eps),
            Linear(tensors[f"{name}.mm_input_projection_weight"].T),  # stored the other way round
            config.tokens_a_side,
        )

    def __call__(self, states_NPC: Tensor) -> Tensor:
        """[N, P, C] -> [N, F, W]"""
        side = round(states_NPC.shape[1] ** 0.5)
        picture_NCSS = torch.unflatten(states_NPC.transpose(1, 2), 2, (side, side))
        means_NCF = F.avg_pool2d(picture_NCSS, side // self.tokens_a_side).flatten(2)
        return self.linear(self.norm(means_NCF.transpose(1, 2)))


# --- the model --------------------------------------------------------------------------------------------------------


class Gemma3:
    """A loaded checkpoint: `foveal.models.family.Model`."""

    splits_images = True
    whole_spans = True
    rereads_images = False

    def __init__(self, config: Config, tensors: Mapping[str, Tensor]) -> None:
        tower, projector = prefix(tensors, *TOWER), prefix(tensors, *PROJECTOR)
        self.config = config
        self.tower = ClipTower.load(tensors, tower, config.vision, config.vision.num_hidden_layers)
        self.tower_norm = LayerNorm.load(tensors, f"{tower}.post_layernorm", config.vision.layer_norm_eps)
        self.projector = Projector.load(tensors, projector, config)
        self.decoder = Decoder.load(tensors, prefix(tensors, *TEXT), prefix(tensors, *HEAD), config.decoder)
        self.kv_shape = kv_shape(config.decoder)
        self.max_model_len = config.decoder.max_model_len
        self.vocab_size = config.decoder.vocab_size

    def positions(self, prompt: Prompt, max_total_tokens: int) -> Positions:
        return counted_positions(prompt, self.decoder.rope, max_total_tokens)

    @torch.inference_mode()
    def encode_crops(self, work: Sequence[CropRange]) -> list[Tensor]:
        """[N, F, W] for each entry."""
        return encode_together(work, self.crops, self._tokens)

    def crops(self, item: CropRange) -> Tensor:
        """What the tower sees of a crop range: float32 [N, 3, S, S]."""
        return self.config.normalise(own_crops(item, self.decoder.embedding.device))

    def _tokens(self, pixels_N3SS: Tensor) -> Tensor:
        return self.projector(self.tower_norm(self.tower(pixels_N3SS)))

    @torch.inference_mode()
    def assemble(self, layout: ImageLayout, crops: Tensor) -> Tensor:
        return crops[0]

    @torch.inference_mode()
    def forward(self, batch: InputBatch, kv_cache: Tensor) -> Tensor:
        x_TW = embed_with_features(self.decoder, batch)
        spans = [[(s.offset, s.end) for image in piece.images for s in image.spans] for piece in batch.slices]
        return self.decoder(x_TW, batch.positions_RT, replace(batch.attention, two_way_spans=spans), kv_cache)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        return self.decoder.logits(hidden)


def load(checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> Gemma3:
    return Gemma3(Config.read(checkpoint), tensors)

"""Makes a `DecoderConfig` from a checkpoint's settings, and adds what only the decoder's model_type implies.

The settings of nearly every decoder are complete. Gemma 3's model_type implies more: norms stored as weight minus one,
embeddings times sqrt(width), and scores divided by sqrt(query_pre_attn_scalar). Five of six layers slide, and the
sliding layers have rotary frequencies of their own. Qwen3.5's norms are stored so, too. Its attention has an output
gate, and three of four layers have a gated delta network instead. Granite scales embeddings, scores, what sublayers
add, and logits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from foveal.errors import CheckpointError
from foveal.layers.decoder import DecoderConfig
from foveal.layers.gated_delta import DeltaHeads
from foveal.layers.norm import OffsetRMSNorm
from foveal.layers.rope import Rope, rope_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from foveal.models.checkpoint import Checkpoint, Settings


HYBRIDS = ("qwen3_5_text", "qwen3_5_moe_text")


def decoder_config(checkpoint: Checkpoint) -> DecoderConfig:
    """Raises CheckpointError for a setting that is missing or not implemented."""
    settings = checkpoint.decoder_config
    if settings.get("model_type") == "gemma3_text":
        return _gemma3(settings, has_images="text_config" in checkpoint.config)
    if settings.get("model_type") in HYBRIDS:
        config = _hybrid(settings, has_images="text_config" in checkpoint.config)
    elif settings.get("model_type") == "granite":
        config = _granite(settings, has_images="text_config" in checkpoint.config)
    elif settings.get("model_type") == "qwen3_vl_text":
        rope = {"mrope_section": [24, 20, 20], "mrope_interleaved": True} | rope_parameters(settings)
        config = DecoderConfig.read({**settings, "rope_parameters": rope, "rope_scaling": None})
    else:
        config = DecoderConfig.read(settings)
    ties_embeddings = config.ties_embeddings or bool(checkpoint.config.get("tie_word_embeddings"))
    return replace(config, ties_embeddings=ties_embeddings)


def _gemma3(settings: Settings, has_images: bool) -> DecoderConfig:
    pattern, num_layers = settings["sliding_window_pattern"], settings["num_hidden_layers"]
    cap = settings.get("final_logit_softcapping")
    if has_images and cap is not None:
        raise CheckpointError(f"{settings.place}: final_logit_softcapping is {cap}; with images the reference has none")
    listed = ["full_attention" if (i + 1) % pattern == 0 else "sliding_attention" for i in range(num_layers)]
    full, sliding = _gemma3_rope(settings)
    config = DecoderConfig.read({**settings, "layer_types": settings.get("layer_types") or listed, **full})
    return replace(
        config,
        query_scale=settings["query_pre_attn_scalar"] ** -0.5,
        sliding_rope=Rope.read({**settings, **sliding}, config.heads.head_dim),
        norm=OffsetRMSNorm,
        embedding_scale=settings["hidden_size"] ** 0.5,
        logit_cap=cap,
    )


def _gemma3_rope(settings: Settings) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The rope settings of the full and of the sliding layers, from the newer or the older layout."""
    newer = settings.get("rope_parameters") or {}
    if "full_attention" in newer:
        return {"rope_parameters": newer["full_attention"]}, {"rope_parameters": newer["sliding_attention"]}
    return {}, {"rope_theta": settings["rope_local_base_freq"], "rope_scaling": None}


def _granite(settings: Settings, has_images: bool) -> DecoderConfig:
    """Logits of a model with images are not divided: the reference does so for text models alone."""
    return replace(
        DecoderConfig.read(settings),
        query_scale=settings.get("attention_multiplier", 1.0),
        embedding_scale=settings.get("embedding_multiplier", 1.0),
        residual_scale=settings.get("residual_multiplier", 1.0),
        logit_divisor=1.0 if has_images else settings.get("logits_scaling", 1.0),
    )


def _hybrid(settings: Settings, has_images: bool) -> DecoderConfig:
    """Qwen3.5's. Positions have three rows where there are images. Without, the rows are equal, and one is enough."""
    rope = {"mrope_section": [11, 11, 10], "mrope_interleaved": True} | rope_parameters(settings)
    if not has_images:
        del rope["mrope_section"], rope["mrope_interleaved"]
    every, num_layers = settings["full_attention_interval"], settings["num_hidden_layers"]
    usual = ["linear_attention" if (i + 1) % every else "full_attention" for i in range(num_layers)]
    return replace(
        DecoderConfig.read({**settings, "rope_parameters": rope, "rope_scaling": None}),
        norm=OffsetRMSNorm,
        gates_attention=True,
        delta_heads=DeltaHeads.read(settings),
        experts_per_token=settings.get("num_experts_per_tok", 0),
        delta_layers=tuple(kind == "linear_attention" for kind in settings.get("layer_types") or usual),
    )

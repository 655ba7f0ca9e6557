"""What published config.json files leave out is read as the reference library takes it."""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
import transformers

from foveal.models.checkpoint import Checkpoint
from foveal.models.registry import family_of

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16, "num_hidden_layers": 27}
CLIP_L = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "image_size": 336,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "patch_size": 14,
    "projection_dim": 768,
}
LEAN: dict[str, dict[str, Any]] = {
    "gemma-3-4b-it": {
        "model_type": "gemma3",
        "mm_tokens_per_image": 256,
        "text_config": {
            "model_type": "gemma3_text",
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 1024,
        },
        "vision_config": {**SO400M, "model_type": "siglip_vision_model", "image_size": 896, "patch_size": 14},
    },
    "llava-1.5-7b-hf": {
        "model_type": "llava",
        "image_token_index": 32000,
        "text_config": {
            "model_type": "llama",
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-05,
            "vocab_size": 32064,
        },
        "vision_config": CLIP_L,
    },
    "llava-v1.6-mistral-7b-hf": {
        "model_type": "llava_next",
        "image_token_index": 32000,
        "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
        "text_config": {
            "model_type": "mistral",
            "intermediate_size": 14336,
            "max_position_embeddings": 32768,
            "num_key_value_heads": 8,
            "rms_norm_eps": 1e-05,
            "rope_theta": 1000000.0,
            "sliding_window": None,
            "vocab_size": 32064,
        },
        "vision_config": CLIP_L,
    },
    "SmolVLM-256M-Instruct": {
        "model_type": "idefics3",
        "image_token_id": 49190,
        "scale_factor": 4,
        "text_config": {
            "model_type": "llama",
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_attention_heads": 9,
            "num_hidden_layers": 30,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-05,
            "rope_theta": 100000,
            "vocab_size": 49280,
        },
        "vision_config": {
            "model_type": "idefics3",
            "hidden_size": 768,
            "image_size": 512,
            "num_attention_heads": 12,
            "patch_size": 16,
        },
    },
    "SmolVLM2-2.2B-Instruct": {
        "model_type": "smolvlm",
        "image_token_id": 49190,
        "scale_factor": 3,
        "text_config": {
            "model_type": "llama",
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 24,
            "num_key_value_heads": 32,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-05,
            "rope_theta": 130000,
            "vocab_size": 49280,
        },
        "vision_config": {**SO400M, "model_type": "smolvlm_vision", "image_size": 384, "patch_size": 14},
    },
}


@pytest.mark.parametrize("name", LEAN)
def test_a_lean_config_means_what_the_reference_fills_in(tmp_path: Path, name: str) -> None:
    filled_in = transformers.AutoConfig.for_model(**LEAN[name]).to_dict()

    assert settings_of(tmp_path / "lean", LEAN[name]) == settings_of(tmp_path / "full", filled_in)


def settings_of(folder: Path, config: dict[str, Any]) -> str:
    """All that our model takes from a config.json, spelled out: tables of frequencies included."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config, default=str))
    (folder / "preprocessor_config.json").write_text(json.dumps(IMAGES))
    checkpoint = Checkpoint.read(folder)
    return repr(import_module(f"foveal.models.{family_of(checkpoint)}.model").Config.read(checkpoint))

"""Weights that are not of the sizes that config.json speaks of are refused when they are loaded, not at a request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from foveal.errors import CheckpointError
from foveal.models.registry import load_model
from tests.builders import tiny_llama

if TYPE_CHECKING:
    from pathlib import Path

CPU, LAYER = torch.device("cpu"), "model.layers.1"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"num_attention_heads": 8},
            r"layers\.0\.self_attn\.qkv_proj has the shape \[64, 32\], where config\.json asks for \[48, 32\]",
        ),
        ({"num_key_value_heads": 1}, r"qkv_proj has the shape \[64, 32\], where config\.json asks for \[48, 32\]"),
        ({"head_dim": 4}, r"qkv_proj has the shape \[64, 32\], where config\.json asks for \[32, 32\]"),
        ({"vocab_size": 4000}, r"model\.embed_tokens.* asks for \[4000, 32\]"),
    ],
)
def test_settings_of_another_model(tmp_path: Path, settings: dict[str, int], message: str) -> None:
    file = tiny_llama(tmp_path) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))

    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path, CPU, torch.float32)


def test_a_file_with_more_layers_than_the_settings_say(tmp_path: Path) -> None:
    file = tiny_llama(tmp_path) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_hidden_layers": 1}))

    with pytest.raises(CheckpointError, match=r"have model\.layers\.1, where config\.json has 1 layers"):
        load_model(tmp_path, CPU, torch.float32)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        (f"{LAYER}.mlp.down_proj.weight", torch.ones(31, 48), r"layers\.1\.mlp\.down_proj has the shape \[31, 48\]"),
        (f"{LAYER}.mlp.down_proj.weight", torch.ones(32, 47), r"gate_up_proj .* asks for \[94, 32\]"),
        (f"{LAYER}.mlp.down_proj.weight", torch.ones(32, 48).long(), r"down_proj is of int64 .* a matrix of floats"),
        (f"{LAYER}.mlp.down_proj.weight", torch.ones(32), r"down_proj is of float32 with the shape \[32\]"),
        (f"{LAYER}.self_attn.q_proj.weight", torch.ones(32, 31), "q_proj, .* have different numbers of inputs"),
        (f"{LAYER}.input_layernorm.weight", torch.ones(5), r"input_layernorm\.weight has the shape \[5\]"),
        ("model.norm.weight", torch.ones(5), r"model\.norm\.weight has the shape \[5\]"),
        ("lm_head.weight", torch.ones(300, 31), r"lm_head has the shape \[300, 31\]"),
    ],
)
def test_a_tensor_of_another_size(tmp_path: Path, name: str, tensor: torch.Tensor, message: str) -> None:
    file = tiny_llama(tmp_path) / "model.safetensors"
    save_file(load_file(file) | {name: tensor}, file)

    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path, CPU, torch.float32)

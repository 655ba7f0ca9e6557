"""The same weights under other names that published checkpoints use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from foveal.models.registry import load_model
from foveal.types import Prompt
from tests.parity.families import FAMILIES
from tests.parity.naive import NaiveRun

if TYPE_CHECKING:
    from pathlib import Path

NEWER = [
    (r"^language_model\.lm_head", "lm_head"),
    (r"^language_model\.model", "model.language_model"),
    (r"^(vision_tower|vision_model|multi_modal_projector|image_newline|visual)", r"model.\1"),
    (r"^model\.(layers|embed_tokens|norm)\.", r"model.language_model.\1."),
]
OLDER = [(r"^vision_tower\.(?!vision_model)", "vision_tower.vision_model.")]
LAYOUTS = [
    (name, "newer") for name in ("mllama", "qwen2_vl", "qwen2_5_vl", "gemma3", "llava", "llava_next", "internvl")
]


@pytest.mark.parametrize(("name", "layout"), [*LAYOUTS, ("llava", "older"), ("gemma3", "older")])
def test_renamed_weights_are_found(tmp_path: Path, name: str, layout: str) -> None:
    made = FAMILIES[name].make(tmp_path, 0)
    tensors = load_file(tmp_path / "model.safetensors")
    for pattern, replacement in NEWER if layout == "newer" else OLDER:
        tensors = {re.sub(pattern, replacement, key): tensor for key, tensor in tensors.items()}
    save_file(tensors, tmp_path / "model.safetensors")

    renamed = load_model(tmp_path, torch.device("cpu"), torch.float32)

    prompt = Prompt((1, 70, 80, 90))
    assert torch.equal(NaiveRun(renamed, prompt, 10).prefill(), NaiveRun(made.ours, prompt, 10).prefill())

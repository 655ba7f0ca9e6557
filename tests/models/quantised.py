"""Writes small checkpoints as quantisers publish them, and beside each what its weights are as plain numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from foveal.layers.linear.form import all_plain
from foveal.layers.linear.policy import policy_of
from foveal.models.registry import load_model, load_processor
from tests.builders import picture, prepared_prompt
from tests.parity.naive import NaiveRun

Packing = Callable[[Tensor], tuple[dict[str, Tensor], Tensor]]
"""A weight -> the tensors that a file has for it, by the endings of their names, and the weight that they stand for."""


@dataclass(frozen=True)
class Published:
    """A quantised checkpoint, and the same weights in floats."""

    folder: Path
    plain: Path

    def check(self, quantization: str) -> None:
        """Served so, its logits are those of the weights that it stands for."""
        torch.testing.assert_close(logits(self.folder, quantization), logits(self.plain, "none"), atol=1e-3, rtol=0)


def published(source: Path, settings: dict[str, Any], pack: Packing, names: str = "_proj.weight") -> Published:
    """`source` with its decoder's matrices packed: those whose names end so."""
    tensors = load_file(source / "model.safetensors")
    packed, plain = dict(tensors), dict(tensors)
    for name, weight in tensors.items():
        is_tower = any(part in name for part in ("vision", "visual", "projector"))
        if name.endswith(names) and weight.dim() == 2 and not is_tower:
            own, plain[name] = pack(weight.float())
            del packed[name]
            packed |= {name.removesuffix("weight") + ending: tensor.contiguous() for ending, tensor in own.items()}
    assert len(packed) > len(tensors)
    config = json.loads((source / "config.json").read_text())
    made = Published(source / "packed", source / "plain")
    for folder, files in ((made.folder, packed), (made.plain, plain)):
        folder.mkdir()
        for file in source.glob("*.json"):
            shutil.copy(file, folder)
        save_file({name: tensor.contiguous() for name, tensor in files.items()}, folder / "model.safetensors")
    (made.folder / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
    return made


def logits(folder: Path, quantization: str) -> Tensor:
    """Of a prompt with a picture where there is a processor, and of a token after it."""
    policy = all_plain if quantization == "none" else policy_of(quantization)
    model, processor = load_model(folder, torch.device("cpu"), torch.float32, policy=policy), load_processor(folder)
    segments, pictures = [[1, 70, 80], [90, 91, 92]], [picture(90, 60)]
    prepared = prepared_prompt(processor, segments, pictures) if processor else prepared_prompt(None, segments[:1], [])
    run = NaiveRun(model, prepared.prompt, len(prepared.prompt.token_ids) + 2, prepared.pixels)
    return model.decoder.logits(torch.cat([run.prefill(), run.compute([5])]))

"""Golden cases: what an independent implementation answers on a tiny random checkpoint.

A golden folder holds a checkpoint, pictures, cases.json and expected.safetensors. Read are tests/data/golden and what
FOVEAL_GOLDEN names (joined with ':'): golden folders, or folders of such.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from safetensors.torch import load_file

from foveal.models.registry import load_model, load_processor
from tests.builders import PreparedPrompt, prepared_prompt

if TYPE_CHECKING:
    from foveal.models.family import Model

OWN_FOLDER = Path(__file__).parents[1] / "data" / "golden"


@dataclass(frozen=True)
class GoldenCase:
    folder: Path
    name: str
    facts: dict[str, Any]  # the case in cases.json

    def __str__(self) -> str:
        return f"{self.folder.name}-{self.name}"

    def model(self) -> Model:
        return _model(self.folder)

    def prepared(self) -> PreparedPrompt:
        pictures = [Image.open(self.folder / name).convert("RGB") for name in self.facts["images"]]
        return prepared_prompt(load_processor(self.folder), self.facts["segments"], pictures)

    def expected(self) -> dict[str, torch.Tensor]:
        """The case's reference tensors: last_logits, logits_every_16th, pixels0_every_8th, ..."""
        own = f"{self.name}."
        tensors = load_file(self.folder / "expected.safetensors")
        return {key.removeprefix(own): tensor for key, tensor in tensors.items() if key.startswith(own)}


def golden_cases(model_type: str) -> list[GoldenCase]:
    named = [Path(name) for name in os.environ.get("FOVEAL_GOLDEN", "").split(":") if name]
    folders = {file.parent for root in [OWN_FOLDER, *named] for file in root.rglob("cases.json")}
    return [
        GoldenCase(folder, name, facts)
        for folder in sorted(folders)
        if json.loads((folder / "config.json").read_bytes())["model_type"] == model_type
        for name, facts in json.loads((folder / "cases.json").read_bytes()).items()
    ]


@functools.cache
def _model(folder: Path) -> Model:
    return load_model(folder, torch.device("cpu"), torch.float32)

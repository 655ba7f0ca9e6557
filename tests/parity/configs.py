"""The settings files of every family, with each setting that the reference library's classes write."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

import transformers

from foveal.models.checkpoint import Checkpoint
from foveal.models.registry import family_of, load_processor

if TYPE_CHECKING:
    from pathlib import Path

Files = dict[str, dict[str, Any]]

IMAGE_PROCESSORS = {
    "gemma3": "Gemma3",
    "gemma4": "Gemma4",
    "gemma4_unified": "Gemma4",  # its own needs torchvision
    "idefics3": "Idefics3",
    "internvl": "GotOcr2",
    "llava": "Llava",
    "llava_next": "LlavaNext",
    "mllama": "Mllama",
    "qwen2_5_vl": "Qwen2VL",
    "qwen2_vl": "Qwen2VL",
    "qwen3_5": "Qwen2VL",
    "qwen3_5_moe": "Qwen2VL",
    "qwen3_vl": "Qwen2VL",
    "smolvlm": "SmolVLM",
}
TEXT_MODELS = (
    *("gemma3_text", "gemma4_text", "gemma4_unified_text", "granite", "llama", "mistral", "phi3", "qwen2", "qwen3"),
    *("qwen3_5_moe_text", "qwen3_5_text"),
)
MODELS = (*IMAGE_PROCESSORS, *TEXT_MODELS)


def complete(model_type: str) -> Files:
    """config.json and preprocessor_config.json of a family, as the reference fills them in."""
    has_tower: dict[str, Any] = (
        {"vision_config": {}} if model_type.startswith("gemma4") and model_type in IMAGE_PROCESSORS else {}
    )
    config = transformers.AutoConfig.for_model(model_type, **has_tower)  # Gemma 4 may have none
    files: Files = {"config": json.loads(json.dumps(config.to_dict(), default=str))}
    if name := IMAGE_PROCESSORS.get(model_type):
        images = getattr(transformers, f"{name}ImageProcessorPil")()
        files["preprocessor_config"] = json.loads(images.to_json_string())
    return files


@dataclass(frozen=True)
class Place:
    """Where a setting stands: the file and the names on the way to it."""

    file: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: {'.'.join(self.path)}"

    def changed(self, files: Files, value: Any) -> Files:
        """A copy of the files, with another value at this place."""
        copied: Files = json.loads(json.dumps(files))
        inner: dict[str, Any] = copied[self.file]
        for name in self.path[:-1]:
            inner = inner[name]
        inner[self.path[-1]] = value
        return copied


def places(files: Files) -> list[tuple[Place, Any]]:
    """Every setting in the files, objects included, with its value."""
    found: list[tuple[Place, Any]] = []

    def walk(file: str, settings: dict[str, Any], path: tuple[str, ...]) -> None:
        for name, value in settings.items():
            found.append((Place(file, (*path, name)), value))
            if isinstance(value, dict):
                walk(file, value, (*path, name))

    for file, settings in files.items():
        walk(file, settings, ())
    return found


def meaning(folder: Path, files: Files) -> str:
    """All that the family takes from the files, spelled out. Raises CheckpointError, as loading would."""
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    checkpoint = Checkpoint.read(folder)
    family = import_module(f"foveal.models.{family_of(checkpoint)}.model")
    read = family.Config.read if hasattr(family, "Config") else family.decoder_config
    processor = load_processor(folder)
    kept = {name: value for name, value in vars_of(processor).items() if not callable(value)}
    return repr((read(checkpoint), kept, checkpoint.eos_token_ids, checkpoint.dtype))


def vars_of(processor: Any) -> dict[str, Any]:
    return {field.name: getattr(processor, field.name) for field in fields(processor)} if processor else {}

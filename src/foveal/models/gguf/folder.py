"""Makes a folder of a GGUF file: its settings and its tokenizer as JSON files, and links to the weights."""

from __future__ import annotations

from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from foveal.errors import CheckpointError
from foveal.models.gguf.reader import GgufFile, parts_of
from foveal.models.gguf.settings import decoder_settings
from foveal.models.gguf.tokens import Vocabulary, tokenizer_files
from foveal.models.gguf.vision import Vision, vision_settings
from foveal.models.made import made_folder
from foveal.models.quantisation import GGUF

FORMAT = "3"  # of the folders: another number makes others of them
MODEL, VISION = "model", "mmproj"  # what links are called, before .gguf or -00001-of-00002.gguf
VISION_MARK = "mmproj"  # in the name of a file with a vision part


def folder_of(model: Path, vision: Path | None = None) -> Path:
    """The folder of a GGUF file and, if there is one, of the file of its vision part. Raises CheckpointError."""
    parts = [*parts_of(model)]
    for path in [*parts, *([vision] if vision else [])]:
        if not path.is_file():
            raise CheckpointError(f"{path} is missing")
    links = {(f"{MODEL}.gguf" if len(parts) == 1 else f"{MODEL}-{i:05}.gguf"): path for i, path in enumerate(parts)}
    if vision:
        links[f"{VISION}.gguf"] = vision
    return made_folder("gguf", FORMAT, links, partial(_files, parts[0], vision))


def files_in(folder: Path, wanted: str = "") -> tuple[Path, Path | None]:
    """The model and the vision part among a folder's GGUF files. wanted: what stands in the model's name.

    Raises CheckpointError where there is no one model.
    """
    found = sorted(folder.rglob("*.gguf")) if wanted else sorted(folder.glob("*.gguf"))
    vision = [path for path in found if VISION_MARK in path.name.lower()]
    models = [path for path in found if path not in vision and wanted.lower() in path.name.lower()]
    first = [path for path in models if next(parts_of(path)) == path]
    if len(first) != 1:
        names = ", ".join(path.name for path in first) or "none"
        raise CheckpointError(f"{folder} should have one GGUF file {wanted} of a model: name one of these: {names}")
    return first[0], vision[0] if vision else None


def _files(model: Path, vision: Path | None) -> dict[str, Any]:
    file = GgufFile.read(model)
    text, files = decoder_settings(file), tokenizer_files(file)
    common = {"quantization_config": {"quant_method": GGUF, **_width(file)}, "dtype": "float16"}
    if vision is None:
        return {**files, "config.json": {**text, **common}}
    found = GgufFile.read(vision)
    config, pictures = vision_settings(Vision(found, text, Vocabulary(file).ids))
    _check_width(found, text["hidden_size"])
    return {
        **files,
        "config.json": {**config, **common, "text_config": {**text, **config["text_config"]}},
        "preprocessor_config.json": pictures,
    }


def _width(file: GgufFile) -> dict[str, Any]:
    """The type of most of its bytes, and the bits that a weight takes on average."""
    types: dict[str, int] = {}
    for tensor in file.tensors.values():
        types[tensor.kind.name] = types.get(tensor.kind.name, 0) + tensor.num_bytes
    num_weights = sum(prod(tensor.shape) for tensor in file.tensors.values())
    return {"format": max(types, key=types.__getitem__), "bits": round(8 * sum(types.values()) / num_weights, 1)}


def _check_width(vision: GgufFile, width: int) -> None:
    """A vision part of another model would fail at the first picture only."""
    stated = vision.metadata.get("clip.vision.projection_dim")
    if stated and stated != width:
        raise CheckpointError(f"{vision.path} makes features of {stated} numbers, and its model takes {width}")

"""Reads a checkpoint's JSON files: what the server, the image workers and the engine all need to know of a model.

Imports no torch, reads no weights and knows no family. Settings that published files omit are in defaults.py.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from foveal.errors import CheckpointError
from foveal.models.bounds import check_settings
from foveal.models.defaults import DECODER_DEFAULTS, DECODER_TYPES, VISION_DEFAULTS
from foveal.models.generic.types import VERIFIED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


STRETCHES, STRETCH_BYTES = 64, 1 << 16  # of a weight file, that are read to tell it from others
MAX_JSON_BYTES = 4 << 20  # of a file of settings or an index of weights; published ones have less than 2 MiB
MAX_TOKENIZER_BYTES = 64 << 20  # published ones have up to 33 MiB


class Settings(dict[str, Any]):
    """A JSON object of a checkpoint. A missing key raises CheckpointError, not KeyError."""

    place = "the checkpoint's configuration"  # which file, and where in it

    def __missing__(self, key: str) -> Any:
        raise CheckpointError(
            f"{self.place} has no {key!r}: the checkpoint is incomplete or of another kind. "
            "Download all its JSON files again"
        )

    def over(self, defaults: Mapping[str, Any]) -> Settings:
        """These settings, and the defaults of those that are missing."""
        return Settings({**defaults, **self}).placed(self.place)

    def placed(self, place: str) -> Settings:
        """Itself, with its place and those of the objects in it noted."""
        self.place = place
        for name, value in self.items():
            if isinstance(value, Settings):
                value.placed(f"{name} in {place}")
        return self


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The settings in a model's folder. Made by `read`; the JSON objects keep the names and nesting of the files."""

    folder: Path
    config: Settings  # config.json
    generation_config: Settings  # generation_config.json, empty where there is none
    preprocessor_config: Settings  # preprocessor_config.json or its newer place, empty where there is neither

    @classmethod
    def read(cls, folder: Path) -> Checkpoint:
        """Raises CheckpointError if config.json is missing or a setting is malformed."""
        if not (folder / "config.json").is_file():
            raise CheckpointError(
                f"{folder} has no config.json: give the folder that has it beside the weights, "
                "or a hub id (owner/name). `foveal models` lists what is here"
            )
        model_type = read_json(folder / "config.json").get("model_type")
        read = partial(_settings, sizes_only=model_type in VERIFIED)
        return cls(
            folder,
            read(folder / "config.json"),
            read(folder / "generation_config.json"),
            read(folder / "preprocessor_config.json")
            or read(folder / "processor_config.json", part="image_processor"),  # the newer layout
        )

    @property
    def model_type(self) -> str:
        return str(self.config["model_type"])

    @property
    def decoder_config(self) -> Settings:
        """The decoder's settings in config.json, completed with defaults; older families keep them at the top level."""
        settings: Settings = self.config.get("text_config", self.config)
        kind = settings.get("model_type") or DECODER_TYPES.get(self.config.get("model_type", ""), "")
        return settings.over({**DECODER_DEFAULTS.get(kind, {}), "model_type": kind})

    @property
    def vision_config(self) -> Settings:
        """The vision tower's settings in config.json, completed with defaults."""
        settings: Settings = self.config["vision_config"]
        return settings.over(VISION_DEFAULTS.get(settings.get("model_type", self.model_type), {}))

    @property
    def context_length(self) -> int:
        """The longest sequence, in tokens."""
        return int(self.decoder_config["max_position_embeddings"])

    @property
    def vocab_size(self) -> int:
        return int(self.decoder_config["vocab_size"])

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer: those of generation_config.json, then those of config.json."""
        found: dict[int, None] = {}
        for settings in (self.generation_config, self.decoder_config, self.config):
            ids = settings.get("eos_token_id")
            found |= dict.fromkeys(ids if isinstance(ids, list) else [] if ids is None else [ids])
        return tuple(found)

    @property
    def dtype(self) -> str:
        """How the weights are stored, as config.json says: float32, float16 or bfloat16."""
        for settings in (self.config, self.decoder_config):
            for key in ("dtype", "torch_dtype"):  # the newer name and the older
                if settings.get(key):
                    return str(settings[key])
        return "float32"

    @property
    def quantisation(self) -> Settings:
        """How the weights are quantised; empty where they are not."""
        for settings in (self.config, self.decoder_config):
            for key in ("quantization_config", "compression_config"):  # the newer name and the older
                if found := settings.get(key):
                    assert isinstance(found, Settings)
                    return found
        apart = read_json(self.folder / "hf_quant_config.json").get("quantization")  # ModelOpt's older files
        if isinstance(apart, Settings) and apart.get("quant_algo"):
            return apart.over({"quant_method": "modelopt"}).placed(f"{self.folder}/hf_quant_config.json")
        return Settings()

    @property
    def weight_format(self) -> str:
        """How the files hold the weights, in words: `gguf Q4_K 4.9 bits`, `fp8`, `bfloat16`."""
        settings = self.quantisation
        if not settings:
            return self.dtype
        bits = settings.get("bits")
        words = (
            settings.get("quant_method"),
            settings.get("format"),
            settings.get("quant_algo"),
            bits and f"{bits} bits",
        )
        return " ".join(str(word) for word in words if word)

    @property
    def _weight_files(self) -> list[Path]:
        return sorted([*self.folder.glob("*.safetensors"), *self.folder.glob("*.gguf")])

    @property
    def weight_bytes(self) -> int:
        """The size of all weight files."""
        return sum(file.stat().st_size for file in self._weight_files)

    @property
    def fingerprint(self) -> str:
        """A hash of the settings and of the weight files' names, sizes and times; their contents are not read."""
        digest = hashlib.sha256(json.dumps([self.config, self.preprocessor_config], sort_keys=True).encode())
        for file in self._weight_files:
            status = file.stat()
            digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    @property
    def content_key(self) -> str:
        """A hash of `fingerprint` and of stretches of every weight file, for what is computed once and kept."""
        digest = hashlib.sha256(self.fingerprint.encode())
        for file in self._weight_files:
            size = file.stat().st_size
            with file.open("rb") as weights:
                for i in range(STRETCHES):
                    weights.seek(i * size // STRETCHES)
                    digest.update(weights.read(STRETCH_BYTES))
        return digest.hexdigest()

    def added_token_id(self, text: str) -> int | None:
        """The id of a special token by its text; None if the tokenizer has no such token, or there is no tokenizer."""
        for token in read_json(self.folder / "tokenizer.json", MAX_TOKENIZER_BYTES).get("added_tokens", ()):
            if isinstance(token, Settings) and token.get("content") == text:
                return int(token["id"])
        return None


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> Settings:
    """The JSON object in a file; empty if there is no file. Raises CheckpointError if the file holds no object."""
    if not path.is_file():
        return Settings()
    if path.stat().st_size > max_bytes:
        raise CheckpointError(f"{path} is larger than {max_bytes >> 20} MiB; it is no model's")
    try:
        content = json.loads(path.read_bytes(), object_hook=Settings)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON, or nested too deeply: download it again") from error
    if not isinstance(content, Settings):
        raise CheckpointError(f"{path} holds no JSON object: download it again")
    return content


def _settings(path: Path, part: str | None = None, *, sizes_only: bool = False) -> Settings:
    """What `read_json` finds, or a part of it, with every setting checked."""
    settings = read_json(path)
    found = settings.get(part, Settings()) if part else settings
    if not isinstance(found, Settings):
        raise CheckpointError(f"{path}: {part} must be an object")
    check_settings(str(path), found, sizes_only=sizes_only)
    return found.placed(str(path))

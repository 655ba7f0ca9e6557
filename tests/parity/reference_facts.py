"""Which settings the reference library reads, by the type of the part, and their defaults.

`python -m tests.parity.reference_facts` writes them to foveal/models/reference.json.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.parity.configs import IMAGE_PROCESSORS, MODELS

Facts = dict[str, dict[str, Any]]

FILE = Path(str(files("foveal.models"))) / "reference.json"
OTHER_PROCESSORS = ("CLIP", "Siglip")
OF_CALLS = {"data_format", "device", "disable_grouping", "input_data_format", "return_tensors"}


def facts() -> Facts:
    """Type -> setting -> default."""
    of_every_config = set(transformers.PretrainedConfig().to_dict())
    found: Facts = {}
    for config in map(new_config, MODELS):
        for part in (config, *(getattr(config, name) or kind() for name, kind in config.sub_configs.items())):
            found[part.model_type] = config_facts(type(part)(), of_every_config)
    for name in (*IMAGE_PROCESSORS.values(), *OTHER_PROCESSORS):
        found[f"{name}ImageProcessor"] = processor_facts(getattr(transformers, f"{name}ImageProcessorPil"))
    found = {name: dict(sorted(settings.items())) for name, settings in sorted(found.items())}
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def new_config(model_type: str) -> Any:
    return CONFIG_MAPPING[model_type]()


def config_facts(config: Any, of_every_config: set[str]) -> dict[str, Any]:
    settings = {name: value for name, value in config.to_dict().items() if name not in of_every_config}
    parts = dict.fromkeys(config.sub_configs)
    return {**settings, **parts}


def processor_facts(kind: Any) -> dict[str, Any]:
    named = {name for each in kind.valid_kwargs.__mro__ for name in getattr(each, "__annotations__", ())} - OF_CALLS
    written = json.loads(kind().to_json_string())
    return {name: written.get(name, getattr(kind, name, None)) for name in named}


def written(found: Facts) -> str:
    """A line a type."""
    lines = (f"{json.dumps(name)}: {json.dumps(settings)}" for name, settings in found.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(written(facts()))

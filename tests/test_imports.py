"""What a process loads: each part runs without the libraries that are not its business.

The linter's contracts (pyproject.toml) read the source; these tests import it, so they also see what others bring in.
"""

from __future__ import annotations

import json
import subprocess
import sys
from fnmatch import fnmatchcase
from pkgutil import walk_packages

import foveal

WEB = ("fastapi", "starlette", "uvicorn", "httpx", "pydantic", "click", "rich")
TRANSFORMERS = (  # what may import transformers, or something that does
    "foveal.models.generic.check",
    "foveal.models.generic.model",
    "foveal.models.generic.modules",
    "foveal.models.generic.pictures",
    "foveal.verify.theirs",
)
COMPUTES = (  # what may import torch, or something that does
    "foveal.engine.*",
    "foveal.engine_client.local",
    "foveal.layers*",
    "foveal.models.*.model",
    "foveal.models.decoders",
    "foveal.models.features",
    *(f"foveal.models.gemma4.{part}" for part in ("decoder", "embedder", "settings", "tower")),
    "foveal.models.gguf.tensors",
    *TRANSFORMERS,
)
ON_A_CLUSTER = (
    "foveal.scaleout.application",
    "foveal.scaleout.calls",
    "foveal.scaleout.router",
)  # what Ray runs; make scale tests it
SCHEDULES = (  # of the engine, what decides and what is said
    "foveal.engine.grammar",
    "foveal.engine.kv_cache",
    "foveal.engine.protocol",
    "foveal.engine.scheduler",
    "foveal.engine.sequence",
)

IMPORT_ALL = """
import importlib, json, sys
names, refused = json.loads(sys.argv[1])
for library in refused:
    sys.modules[library] = None  # importing it raises ModuleNotFoundError
for name in names:
    importlib.import_module(name)
"""


def modules(*patterns: str) -> list[str]:
    """The modules of the package whose names match one of the patterns."""
    names = [module.name for module in walk_packages(foveal.__path__, "foveal.")]
    names.remove("foveal.__main__")  # a program
    return [
        name for name in names if name not in ON_A_CLUSTER and any(fnmatchcase(name, pattern) for pattern in patterns)
    ]


def without(refused: tuple[str, ...], names: list[str]) -> None:
    """Import all of them in one process where the libraries cannot be had."""
    command = [sys.executable, "-c", IMPORT_ALL, json.dumps([names, refused])]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_wheel_with_swagger_ui_is_not_imported() -> None:
    without(("flask", "flask_swagger_ui"), modules("foveal.http.*"))


def test_without_traces_nothing_of_opentelemetry_is_imported() -> None:
    without(
        ("opentelemetry",), [name for name in modules("foveal.*") if name not in (*TRANSFORMERS, "foveal.http.spans")]
    )


def test_only_one_family_needs_transformers() -> None:
    others = [name for name in modules("foveal.*") if name not in TRANSFORMERS]
    without(("transformers",), others)


def test_what_an_ingress_and_a_replica_do_needs_no_cluster() -> None:
    without(("ray", "torch"), modules("foveal.scaleout*", "foveal.cli.*"))


def test_what_computes_needs_no_web_stack() -> None:
    names = modules("foveal.engine.*", "foveal.layers.*", "foveal.models.*")
    assert len(names) > 40
    without(WEB, names)


def test_what_schedules_needs_no_torch() -> None:
    assert sorted(modules(*SCHEDULES)) == sorted(SCHEDULES)
    without(("torch",), list(SCHEDULES))


def test_nothing_else_needs_torch() -> None:
    computes = modules(*COMPUTES)
    others = [name for name in modules("foveal.*") if name not in computes]
    assert len(others) > 50
    without(("torch",), others)

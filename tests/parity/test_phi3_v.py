"""Phi-3-vision against its golden data: tests/data/golden, and the folders named in FOVEAL_GOLDEN (joined with ':').

Each folder is one checkpoint with its cases, or holds such folders.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from PIL import Image as PIL
from safetensors.torch import load_file

from foveal.models.family import CropRange
from foveal.models.registry import load_model, load_processor
from foveal.types import Image, ImageSpan, PixelRef, Prompt, PromptImage, Size
from tests.parity.naive import NaiveRun, naive_greedy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from foveal.models.phi3_v.model import Phi3V

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def case_folders() -> list[Path]:
    named = [Path(name) for name in os.environ.get("FOVEAL_GOLDEN", "").split(":") if name]
    return sorted({file.parent for root in [GOLDEN, *named] for file in root.glob("**/cases.json")})


CASES = [(folder, name) for folder in case_folders() for name in json.loads((folder / "cases.json").read_text())]
IMAGE_CASES = [(folder, name) for folder, name in CASES if "text" not in name]
every_case = pytest.mark.parametrize(("folder", "name"), CASES, ids=[f"{f.name}-{n}" for f, n in CASES])

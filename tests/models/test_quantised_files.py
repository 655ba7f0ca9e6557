"""Quantised files that cannot be read are refused in one sentence that names the file and what is wrong."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from foveal.errors import CheckpointError
from foveal.models.checkpoint import Checkpoint
from foveal.models.registry import family_of, load_model
from tests.builders import tiny_llama

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")
FP8 = {"quant_method": "fp8"}
TENSORS = {"quant_method": "compressed-tensors", "format": "float-quantized"}
MATRIX = "model.layers.0.self_attn.o_proj"


def checkpoint(folder: Path, settings: dict[str, Any], place: str = "quantization_config") -> Path:
    tiny_llama(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, place: settings}))
    return folder


def with_tensors(folder: Path, **tensors: torch.Tensor) -> None:
    """Of one matrix, instead of its weight."""
    all_of_them = load_file(folder / "model.safetensors")
    del all_of_them[f"{MATRIX}.weight"]
    save_file(
        all_of_them | {f"{MATRIX}.{name}": tensor for name, tensor in tensors.items()}, folder / "model.safetensors"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quant_method": "spqr"}, "quantised by 'spqr', which cannot be read; these can: "),
        ({"bits": 4}, "an unnamed method"),
        ({"quant_method": ["fp8"]}, "a list of 1"),
        ({**TENSORS, "format": "marlin-24"}, "format is 'marlin-24'; these can be read: "),
        ({**TENSORS, "config_groups": {"a": {"format": "odd"}}}, "format is 'odd'"),
        ({**TENSORS, "config_groups": ["a"]}, "config_groups is a list of 1"),
        ({**TENSORS, "config_groups": {"a": 1}}, "a of config_groups is 1; it must be an object"),
        ({**TENSORS, "sparsity_config": {"format": "sparse-24"}}, "'sparse-24'"),
        ({**TENSORS, "transform_config": {"config_groups": {"u": {}}}}, "transform_config"),
        ({**FP8, "weight_block_size": [128]}, "weight_block_size is a list of 1"),
        ({**FP8, "weight_block_size": [0, 1]}, "weight_block_size is a list of 2"),
    ],
)
@pytest.mark.parametrize("place", ["quantization_config", "compression_config"])
def test_settings_that_cannot_be_read(tmp_path: Path, settings: dict[str, Any], message: str, place: str) -> None:
    checkpoint(tmp_path, settings, place)

    with pytest.raises(CheckpointError, match=message):
        family_of(Checkpoint.read(tmp_path))


NUMBERS = torch.ones(32, 32).to(torch.float8_e4m3fn)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": NUMBERS}, "o_proj.weight_scale is missing"),
        ({"weight": NUMBERS, "weight_scale": torch.ones(31)}, r"o_proj.weight_scale has the shape \[31\]"),
        ({"weight": NUMBERS, "weight_scale": torch.ones(32, dtype=torch.int64)}, "o_proj.weight_scale is of int64"),
        ({"weight": NUMBERS, "weight_scale": torch.tensor([math.nan])}, "o_proj.weight has scales that are no finite"),
        ({"weight": NUMBERS, "weight_scale": torch.ones(32) * math.inf}, "o_proj.weight has scales that are no finite"),
        (
            {"weight": NUMBERS[:31], "weight_scale": torch.ones(1)},
            r"o_proj has the shape \[31, 32\], where config.json asks",
        ),
        ({"weight": NUMBERS[0], "weight_scale": torch.ones(1)}, r"o_proj.weight has the shape \[32\]"),
        ({"weight": NUMBERS.float(), "weight_scale": torch.ones(1)}, "o_proj.weight has scales, but is of float32"),
    ],
)
def test_tensors_that_cannot_be_read(tmp_path: Path, tensors: dict[str, torch.Tensor], message: str) -> None:
    with_tensors(checkpoint(tmp_path, FP8), **tensors)

    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path, CPU, torch.float32)

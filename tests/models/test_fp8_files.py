"""FP8 files, as Qwen, DeepSeek and Meta publish them: logits are those of the weights that the files stand for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from tests.models.quantised import Packed, published
from tests.parity.families import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

MOST = 448.0  # of float8_e4m3fn


def by_block(weight: Tensor, size: int, name: str = "weight_scale_inv") -> Packed:
    """Blocks of size x size share a scale; those at the edges are cut."""
    rows, columns = (torch.arange(length) // size for length in weight.shape)
    scale = torch.zeros(int(rows[-1]) + 1, int(columns[-1]) + 1)
    for i in range(len(scale)):
        for j in range(scale.shape[1]):
            scale[i, j] = weight[rows == i][:, columns == j].abs().max() / MOST
    whole = scale[rows][:, columns]
    numbers = (weight / whole).to(torch.float8_e4m3fn)
    return {"weight": numbers, name: scale}, (numbers.double() * whole.double()).float()


def by_output(weight: Tensor, dtype: torch.dtype = torch.float32) -> Packed:
    scale = (weight.abs().amax(1, keepdim=True) / MOST).to(dtype)
    numbers = (weight / scale.float()).to(torch.float8_e4m3fn)
    return {"weight": numbers, "weight_scale": scale}, (numbers.double() * scale.double()).float()


def by_matrix(weight: Tensor) -> Packed:
    scale = weight.abs().max() / MOST
    numbers = (weight / scale).to(torch.float8_e4m3fn)
    other = {"input_scale": torch.tensor(0.5)}
    return {"weight": numbers, "weight_scale": scale, **other}, (numbers.double() * scale.double()).float()


def by_exponents(weight: Tensor) -> Packed:
    """Scales that are powers of two, stored as such."""
    tensors, _ = by_block(weight, 16)
    scale = tensors["weight_scale_inv"].log2().ceil().exp2().to(torch.float8_e8m0fnu)
    whole = scale.double().repeat_interleave(16, 0).repeat_interleave(16, 1)[: len(weight), : weight.shape[1]]
    numbers = (weight / whole).to(torch.float8_e4m3fn)
    return {"weight": numbers, "weight_scale_inv": scale}, (numbers.double() * whole).float()


BLOCKS = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [20, 20]}
TENSORS = {"format": "float-quantized", "quant_method": "compressed-tensors"}


@pytest.mark.parametrize("quantization", ["published", "none"])
@pytest.mark.parametrize(
    ("settings", "pack"),
    [
        pytest.param(BLOCKS, partial(by_block, size=20), id="blocks that are cut at the edges"),
        pytest.param({**BLOCKS, "weight_block_size": [16, 16]}, by_exponents, id="scales as exponents"),
        pytest.param({"quant_method": "fp8"}, partial(by_block, size=128), id="blocks larger than the matrix"),
        pytest.param({"quant_method": "fp8", "activation_scheme": "static"}, by_matrix, id="a scale for the matrix"),
        pytest.param({"quant_method": "fbgemm_fp8"}, by_output, id="a scale for each output"),
        pytest.param(TENSORS, partial(by_output, dtype=torch.bfloat16), id="compressed-tensors"),
    ],
)
def test_fp8_files(tmp_path: Path, settings: dict[str, Any], pack: Any, quantization: str) -> None:
    FAMILIES["qwen2_5_vl"].make(tmp_path, 0)

    published(tmp_path, settings, pack).check(quantization)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_reads_them(name: str, tmp_path: Path) -> None:
    FAMILIES[name].make(tmp_path, 0)

    published(tmp_path, BLOCKS, partial(by_block, size=20)).check("published")

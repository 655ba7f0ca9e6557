"""The int4 form: groups of 32 weights share a float16 scale, in the blocks of GGUF's Q4_0. K is whole groups.

Letters: N outputs, K inputs, G groups in a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from foveal.layers.linear.form import Form, Matrix
from foveal.layers.linear.plain import Plain
from foveal.layers.linear.quantised import Quantised, QuantisedEmbedding, blocks, joined_bias
from foveal.layers.native.products import BLOCK_BYTES, GROUP, Q4_0

if TYPE_CHECKING:
    from torch import Tensor

ROWS_AT_ONCE = 1024  # of a matrix: their float32 copies are what rounding takes in memory
# Tried as a group's scale: its largest number as -8, and less. The one with the smallest squared error is kept.
LOWEST, HIGHEST = -8, 7
TRIED = torch.linspace(-9.0, -6.0, 13).tolist()


def linear(matrices: tuple[Matrix, ...]) -> Quantised:
    """Several matrices become one: its rows are theirs, one after another."""
    parts = [packed(part.float()) for matrix in matrices for part in torch.split(matrix.weight, ROWS_AT_ONCE)]
    return blocks(Q4_0, torch.cat(parts), joined_bias(matrices), matrices[0].weight.dtype)


def packed(weight_NK: Tensor) -> Tensor:
    """float32 [N, K] -> uint8 [N, K / 32 * 18]"""
    groups_NG32 = weight_NK.reshape(len(weight_NK), -1, GROUP)
    places = groups_NG32.abs().argmax(-1, keepdim=True)
    largest_NG1 = groups_NG32.gather(-1, places)
    best_scale_NG1 = (largest_NG1 / LOWEST).half()  # of a NaN it stays one, so that answers are refused
    best_error_NG1 = torch.full_like(largest_NG1, torch.inf)
    for number in TRIED:
        scale_NG1 = (largest_NG1 / number).half()
        error_NG1 = (_numbers(groups_NG32, scale_NG1) * scale_NG1.float() - groups_NG32).square().sum(-1, keepdim=True)
        is_better = error_NG1 < best_error_NG1
        best_scale_NG1 = torch.where(is_better, scale_NG1, best_scale_NG1)
        best_error_NG1 = torch.where(is_better, error_NG1, best_error_NG1)
    numbers = (_numbers(groups_NG32, best_scale_NG1) - LOWEST).to(torch.uint8)
    low, high = numbers.chunk(2, -1)
    block = torch.cat([best_scale_NG1.view(torch.uint8), low | high << 4], -1)
    assert block.shape[-1] == BLOCK_BYTES[Q4_0]
    return block.flatten(1)


def _numbers(groups_NG32: Tensor, scale_NG1: Tensor) -> Tensor:
    scale = scale_NG1.float()
    return torch.where(scale == 0, 0.0, groups_NG32 / scale).round().clamp(LOWEST, HIGHEST)


def embedding(matrix: Matrix) -> QuantisedEmbedding:
    return QuantisedEmbedding(Plain(matrix), linear((matrix,)))


INT4 = Form(linear, embedding)

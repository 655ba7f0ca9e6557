"""The int8 form: each output's weights are rounded to a multiple of their largest magnitude over 127.

Letters: N outputs, K inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from foveal.layers.linear.form import Form, Matrix
from foveal.layers.linear.plain import Plain
from foveal.layers.linear.quantised import Quantised, QuantisedEmbedding, int8, joined_bias

if TYPE_CHECKING:
    from torch import Tensor

ROWS_AT_ONCE = 4096  # of a matrix: their float32 copies are what rounding takes in memory
MAX_WEIGHT = 127


def linear(matrices: tuple[Matrix, ...]) -> Quantised:
    """Several matrices become one: its rows are theirs, one after another."""
    weight_NK = torch.empty(sum(m.weight.shape[0] for m in matrices), matrices[0].weight.shape[1], dtype=torch.int8)
    scale_N = torch.empty(len(weight_NK))
    at = 0
    for matrix in matrices:
        for part in torch.split(matrix.weight, ROWS_AT_ONCE):
            rows = slice(at, at + len(part))
            weight_NK[rows], scale_N[rows] = rounded(part.float())
            at += len(part)
    return int8(weight_NK, scale_N, joined_bias(matrices), matrices[0].weight.dtype)


def rounded(weight_NK: Tensor) -> tuple[Tensor, Tensor]:
    """float32 [N, K] -> int8 [N, K] and float32 scales [N]"""
    scale_N = weight_NK.abs().amax(1) / MAX_WEIGHT
    scale_N = torch.where(scale_N == 0, 1.0, scale_N)  # of a NaN it stays one, so that answers are refused
    return (weight_NK / scale_N[:, None]).round().to(torch.int8), scale_N


def embedding(matrix: Matrix) -> QuantisedEmbedding:
    return QuantisedEmbedding(Plain(matrix), linear((matrix,)))


INT8 = Form(linear, embedding)

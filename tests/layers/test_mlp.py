"""Mixtures of experts, against their formula in float64; stored in one tensor, or expert by expert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from foveal.layers.linear.load import Weights
from foveal.layers.linear.policy import policy_of
from foveal.layers.mlp import Experts

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH, INNER, SHARED, NUM_EXPERTS, NUM_PER_ROW = 16, 12, 20, 6, 3


def stacked(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    shapes = {
        "gate.weight": (NUM_EXPERTS, WIDTH),
        "experts.gate_up_proj": (NUM_EXPERTS, 2 * INNER, WIDTH),
        "experts.down_proj": (NUM_EXPERTS, WIDTH, INNER),
        "shared_expert.gate_proj.weight": (SHARED, WIDTH),
        "shared_expert.up_proj.weight": (SHARED, WIDTH),
        "shared_expert.down_proj.weight": (WIDTH, SHARED),
        "shared_expert_gate.weight": (1, WIDTH),
    }
    return {f"mlp.{name}": torch.randn(shape) / shape[-1] ** 0.5 for name, shape in shapes.items()}


def apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As other files have the same weights: three matrices of each expert."""
    found = {name: tensor for name, tensor in tensors.items() if ".experts." not in name}
    for i in range(NUM_EXPERTS):
        gate, up = tensors["mlp.experts.gate_up_proj"][i].chunk(2)
        parts = {"gate_proj": gate, "up_proj": up, "down_proj": tensors["mlp.experts.down_proj"][i]}
        found |= {f"mlp.experts.{i}.{name}.weight": part.clone() for name, part in parts.items()}
    return found


def by_definition(tensors: dict[str, torch.Tensor], rows: torch.Tensor) -> NDArray[np.float64]:
    exact = {name.removeprefix("mlp."): tensor.double().numpy() for name, tensor in tensors.items()}
    outputs = []
    for x in rows.double().numpy():
        likely = np.exp(exact["gate.weight"] @ x)
        chosen = np.argsort(-likely)[:NUM_PER_ROW]
        y = gated(x, exact["shared_expert.gate_proj.weight"], exact["shared_expert.up_proj.weight"])
        y = exact["shared_expert.down_proj.weight"] @ y / (1 + np.exp(-exact["shared_expert_gate.weight"] @ x))
        for i in chosen:
            gate, up = np.split(exact["experts.gate_up_proj"][i], 2)
            y = y + likely[i] / likely[chosen].sum() * (exact["experts.down_proj"][i] @ gated(x, gate, up))
        outputs.append(y)
    return np.stack(outputs)


def gated(x: NDArray[np.float64], gate: NDArray[np.float64], up: NDArray[np.float64]) -> NDArray[np.float64]:
    opened: NDArray[np.float64] = gate @ x / (1 + np.exp(-gate @ x))
    return opened * (up @ x)


def load(tensors: dict[str, torch.Tensor], quantization: str = "none") -> Experts:
    return Experts.load(Weights(tensors, policy_of(quantization)), "mlp", F.silu, NUM_PER_ROW)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("num_rows", [1, 2, 50])
def test_each_row_has_its_own_experts(num_rows: int, seed: int) -> None:
    tensors = stacked(seed)
    x = torch.randn(num_rows, WIDTH)

    np.testing.assert_allclose(load(tensors)(x).numpy(), by_definition(tensors, x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_stored_in_one_tensor_or_apart_they_are_the_same(quantization: str) -> None:
    tensors, x = stacked(0), torch.randn(9, WIDTH)

    assert torch.equal(load(tensors, quantization)(x), load(apart(tensors), quantization)(x))

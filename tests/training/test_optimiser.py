"""The optimiser: how far it moves the matrices of a decoder layer."""

import pytest
import torch
from torch import Tensor, nn

from training.model import ModelConfig, Phi3V
from training.optimiser import optimisers


def moved(model: nn.Module, name: str, gradient: Tensor, learning_rate: float) -> Tensor:
    """What one step does to the weight."""
    weight = model.get_parameter(name)
    before, weight.grad = weight.detach().clone(), gradient
    for optimiser in optimisers(model, (0.9, 0.98), 0.95, 0.0):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate
        optimiser.step()
    return weight.detach() - before


@pytest.mark.parametrize(("layer", "count"), [("self_attn.qkv_proj", 3), ("mlp.gate_up_proj", 2)])
def test_matrices_that_share_a_weight_move_equally_far(layer: str, count: int) -> None:
    """However small the gradient of one is beside the others': it moves as it would by itself."""
    model = Phi3V(ModelConfig(28, 16, 1, 1, 32, 32, 1, 2, 48, 300, num_crops=1))
    name = f"model.layers.0.{layer}.weight"
    torch.manual_seed(1)
    gradients = torch.randn(model.get_parameter(name).shape).chunk(count)
    scaled = torch.cat([gradient * 1e-3**number for number, gradient in enumerate(gradients)])
    parts = moved(model, name, scaled, 0.01).chunk(count)
    lengths = [part.norm().item() / 0.01 / (0.2 * max(part.shape) ** 0.5 * min(part.shape) ** 0.5) for part in parts]
    assert lengths == pytest.approx([1.0] * count, abs=0.2)

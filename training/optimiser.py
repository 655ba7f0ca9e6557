"""Muon for the matrices inside the transformers, AdamW for everything else, with one learning rate for both.

Muon (Jordan et al., 2024) makes the momentum of a matrix orthogonal before it is applied; its step is scaled to the
size of AdamW's (Liu et al., 2025, arXiv 2502.16982). Matrices of one shape go through the Newton-Schulz iteration
together, which is what makes it affordable on a CPU; PyTorch's own Muon takes them one by one.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training.precision import precision

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    """[K, rows, columns] -> the same with all singular values near 1 (quintic Newton-Schulz; bfloat16 is enough)."""
    a, b, c = COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if is_tall else matrices).to(precision(matrices.device))
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if is_tall else x
    return result.to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    def __init__(self, params: Iterable[dict[str, Any]], momentum: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure is ever given
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    shapes[weight.shape].append(weight)
            for weights in shapes.values():
                self._step_together(weights, group)

    def _step_together(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        size = 0.2 * max(weights[0].shape) ** 0.5
        ahead = torch.stack([self._look_ahead(weight, group["momentum"]) for weight in weights])
        for weight, update in zip(weights, orthogonalised(ahead), strict=True):
            weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * size)

    def _look_ahead(self, weight: Tensor, momentum: float) -> Tensor:
        """Nesterov's: the averaged gradient, one more gradient ahead."""
        assert weight.grad is not None
        average: Tensor = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
        average.lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(average, momentum)


def optimisers(
    model: nn.Module, betas: tuple[float, float], momentum: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Muon and AdamW, each with a group for the tower and one for the rest."""
    matrices, rest = _groups(), _groups()
    for name, weight in model.named_parameters():
        groups = matrices if ".layers." in name and weight.ndim == 2 else rest
        groups[".vision_model." in name]["params"].append(weight)
    adam = torch.optim.AdamW(rest, lr=0.0, betas=betas, weight_decay=weight_decay, fused=True)
    return [Muon(matrices, momentum, weight_decay), adam]


def _groups() -> list[dict[str, Any]]:
    return [{"params": list[Tensor](), "is_tower": is_tower} for is_tower in (False, True)]

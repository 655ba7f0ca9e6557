"""Muon for the matrices inside the transformers, AdamW for everything else, with one learning rate for both.

Muon (Jordan et al., 2024) makes the momentum of a matrix orthogonal before it is applied. Its step is scaled to the
size of AdamW's (Liu et al., 2025, arXiv 2502.16982). Matrices of one shape go through the Newton-Schulz iteration
together, which makes it fast enough on a CPU. PyTorch's own Muon takes them one by one.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training.precision import precision

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STACKED = {"qkv_proj": 3, "gate_up_proj": 2}  # matrices that the published layout joins


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
    """The Muon optimiser. `stacked`: for weights that join several matrices, how many.

    Each matrix is made orthogonal by itself. If they were joined, the one with the largest gradient (the values, among
    queries, keys and values) would leave little to the others.
    """

    def __init__(
        self, params: Iterable[dict[str, Any]], momentum: float, weight_decay: float, stacked: dict[Tensor, int]
    ) -> None:
        super().__init__(params, {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay})
        self.stacked = stacked

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure is ever given
        for group in self.param_groups:
            matrices: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)  # and their gradients
            for weight in group["params"]:
                if weight.grad is not None:
                    count, ahead = self.stacked[weight], self._look_ahead(weight, group["momentum"])
                    for matrix, its in zip(weight.chunk(count), ahead.chunk(count), strict=True):
                        matrices[matrix.shape].append((matrix, its))
            for shape, found in matrices.items():
                size = 0.2 * max(shape) ** 0.5
                updates = orthogonalised(torch.stack([ahead for _, ahead in found]))
                for (matrix, _), update in zip(found, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * size)

    def _look_ahead(self, weight: Tensor, momentum: float) -> Tensor:
        """Nesterov's update: the averaged gradient plus one more step of the current one."""
        assert weight.grad is not None
        average: Tensor = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
        average.lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(average, momentum)


def optimisers(
    model: nn.Module, betas: tuple[float, float], momentum: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Muon and AdamW, each with a group for the tower and one for the rest."""
    matrices, rest, stacked = _groups(), _groups(), dict[Tensor, int]()
    for name, weight in model.named_parameters():
        groups = matrices if ".layers." in name and weight.ndim == 2 else rest
        groups[".vision_model." in name]["params"].append(weight)
        stacked[weight] = next((count for layer, count in STACKED.items() if layer in name), 1)
    adam = torch.optim.AdamW(rest, lr=0.0, betas=betas, weight_decay=weight_decay, fused=True)
    return [Muon(matrices, momentum, weight_decay, stacked), adam]


def _groups() -> list[dict[str, Any]]:
    return [{"params": list[Tensor](), "is_tower": is_tower} for is_tower in (False, True)]

"""The gated MLP of decoders, and mixtures of many small ones, of which a router chooses a few for each row.

Letters: T rows in the step, W hidden width, M MLP width, E experts, A experts of a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from foveal.layers.linear.load import Weights, load_linear

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.layers.activation import Activation
    from foveal.layers.linear.form import Linear

PROJECTIONS = ("gate_up_proj", "down_proj")


@dataclass(frozen=True, slots=True, eq=False)
class GatedMLP:
    """down(act(gate(x)) * up(x)) (Shazeer, 2020)."""

    gate_up: Linear  # [2M, W]
    down: Linear  # [W, M]
    activation: Activation

    @property
    def linears(self) -> tuple[Linear, ...]:
        return self.gate_up, self.down

    @classmethod
    def load(cls, weights: Weights, name: str, activation: Activation = F.silu) -> GatedMLP:
        gate_up = load_linear(weights, f"{name}.gate_up_proj", (f"{name}.gate_proj", f"{name}.up_proj"))
        return cls(gate_up, load_linear(weights, f"{name}.down_proj"), activation)

    def __call__(self, x_TW: Tensor) -> Tensor:
        gate_TM, up_TM = self.gate_up(x_TW).chunk(2, dim=-1)
        return self.down(self.activation(gate_TM) * up_TM)


@dataclass(frozen=True, slots=True, eq=False)
class Experts:
    """The likeliest few of E MLPs, weighted, and one MLP that every row goes through, gated (Qwen's mixtures)."""

    router: Linear  # [E, W]
    experts: tuple[GatedMLP, ...]
    shared: GatedMLP
    shared_gate: Linear  # [1, W]
    num_per_row: int  # A

    @property
    def linears(self) -> tuple[Linear, ...]:
        each = (linear for mlp in (*self.experts, self.shared) for linear in mlp.linears)
        return self.router, self.shared_gate, *each

    @classmethod
    def load(cls, weights: Weights, name: str, activation: Activation, num_per_row: int) -> Experts:
        router = load_linear(weights, f"{name}.gate")
        return cls(
            router,
            load_experts(weights, f"{name}.experts", activation, router.out_features),
            GatedMLP.load(weights, f"{name}.shared_expert", activation),
            load_linear(weights, f"{name}.shared_expert_gate"),
            num_per_row,
        )

    def __call__(self, x_TW: Tensor) -> Tensor:
        likely = self.router(x_TW).softmax(dim=-1, dtype=torch.float32).topk(self.num_per_row, dim=-1)
        shares_TA = (likely.values / likely.values.sum(dim=-1, keepdim=True)).to(x_TW.dtype)
        y_TW = self.shared_gate(x_TW).sigmoid() * self.shared(x_TW)
        add_weighted(y_TW, self.experts, x_TW, likely.indices, shares_TA)
        return y_TW


def load_experts(weights: Weights, name: str, activation: Activation, number: int) -> tuple[GatedMLP, ...]:
    """`number` MLPs, whether each has tensors of its own or all lie in one."""
    apart = replace(weights, tensors=_Apart(weights.tensors, name))
    return tuple(GatedMLP.load(apart, f"{name}.{i}", activation) for i in range(number))


def add_weighted(y_TW: Tensor, experts: Sequence[GatedMLP], x_TW: Tensor, chosen_TA: Tensor, shares_TA: Tensor) -> None:
    """Add to each row of y_TW what its chosen experts make of its row of x_TW, each by its share."""
    for expert in sorted({*chosen_TA.flatten().tolist()}):
        rows, places = torch.where(chosen_TA == expert)
        y_TW.index_add_(0, rows, experts[expert](x_TW[rows]) * shares_TA[rows, places, None])


class _Apart(Mapping[str, "Tensor"]):
    """A checkpoint's tensors, with each expert's matrices under names of their own, where all lie in one tensor."""

    def __init__(self, tensors: Mapping[str, Tensor], name: str) -> None:
        self._tensors = tensors
        self._stacked = {part: f"{name}.{part}" for part in PROJECTIONS if f"{name}.{part}" in tensors}
        self._start = f"{name}."
        self._read: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        found = self._place(name)
        if found is None:
            return self._tensors[name]
        stacked, expert = found
        if stacked not in self._read:  # once, not for each expert
            self._read[stacked] = self._tensors[stacked]
        return self._read[stacked][expert]

    def __contains__(self, name: object) -> bool:
        return name in self._tensors or (isinstance(name, str) and self._place(name) is not None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def _place(self, name: str) -> tuple[str, int] | None:
        """The tensor that `name` lies in, and where: mlp.experts.3.down_proj -> (mlp.experts.down_proj, 3)."""
        number, _, part = name.removeprefix(self._start).partition(".")
        part = part.removesuffix(".weight")
        return (self._stacked[part], int(number)) if part in self._stacked and number.isdecimal() else None

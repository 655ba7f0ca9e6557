"""Gated delta networks: attention without a cache that grows (Yang, Kautz and Hatamizadeh, 2024; Qwen3-Next, Qwen3.5).

Instead of keys and values, a head keeps a matrix that maps keys to values. Each token decays it, and corrects what it
says for the token's key towards the token's value. Before that, a causal convolution of a few taps mixes each channel
with its last inputs. A layer has therefore two states: the last inputs, and the matrices in float32.

Many tokens of one sequence are computed in chunks, which turns most of the work into matrix products. Sequences that
lack one token are computed together. Both give the same numbers, up to rounding.

Letters: T rows, S sequences, V value heads, G key heads, K key head_dim, D value head_dim, N channels of the
convolution, J its taps, W hidden width, C rows of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.layers.linear.load import Weights, load_linear
from foveal.layers.step import StateShape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from foveal.layers.linear.form import Linear
    from foveal.layers.states import StateRows, StepStates
    from foveal.layers.step import StepContext

CHUNK = 64  # rows
EPS = 1e-6  # of the lengths of queries and keys
INPUTS, MATRICES = 0, 1  # the kinds of state


@dataclass(frozen=True, slots=True)
class DeltaHeads:
    """The sizes of a layer."""

    num_key_heads: int
    num_value_heads: int
    key_dim: int
    value_dim: int
    num_taps: int

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> DeltaHeads:
        names = ("num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim", "conv_kernel_dim")
        return cls(*(settings[f"linear_{name}"] for name in names))

    @property
    def widths(self) -> list[int]:
        """Of queries, keys and values."""
        key_width = self.num_key_heads * self.key_dim
        return [key_width, key_width, self.num_value_heads * self.value_dim]

    def state_shapes(self, num_layers: int) -> tuple[StateShape, ...]:
        matrices = (self.num_value_heads, self.key_dim, self.value_dim)
        return (
            StateShape(num_layers, (self.num_taps - 1, sum(self.widths))),
            StateShape(num_layers, matrices, torch.float32),
        )


@dataclass(frozen=True, slots=True, eq=False)
class GatedDeltaNet:
    mixed_and_gate: Linear  # [N + V D, W]: queries, keys and values; the gate of the output
    strength_and_step: Linear  # [2 V, W]: how far a value is corrected, and how much time passes
    taps_JN: Tensor
    rates_V: Tensor  # float32: what decays in a unit of time, negative
    step_bias_V: Tensor
    norm_D: Tensor
    norm_eps: float
    out: Linear  # [W, V D]
    heads: DeltaHeads
    state_index: int  # its layer of the states

    @property
    def linears(self) -> tuple[Linear, ...]:
        return self.mixed_and_gate, self.strength_and_step, self.out

    @classmethod
    def load(cls, weights: Weights, name: str, heads: DeltaHeads, eps: float, state_index: int) -> GatedDeltaNet:
        return cls(
            load_linear(weights, f"{name}.in_proj_qkvz", (f"{name}.in_proj_qkv", f"{name}.in_proj_z")),
            load_linear(weights, f"{name}.in_proj_ba", (f"{name}.in_proj_b", f"{name}.in_proj_a")),
            weights[f"{name}.conv1d.weight"].squeeze(1).T.contiguous(),
            -weights[f"{name}.A_log"].float().exp(),
            weights[f"{name}.dt_bias"],
            weights[f"{name}.norm.weight"],
            eps,
            load_linear(weights, f"{name}.out_proj"),
            heads,
            state_index,
        )

    def __call__(self, x_TW: Tensor, rotations: object, step: StepContext) -> Tensor:
        """[T, W] -> [T, W]; says what the states of the step's sequences become. Positions do not matter to it."""
        sizes, states = self.heads, step.states
        assert states is not None
        mixed_TN, gate_TZ = torch.split(
            self.mixed_and_gate(x_TW), [sum(sizes.widths), sizes.num_value_heads * sizes.value_dim], dim=1
        )
        strength_TV, time_TV = self.strength_and_step(x_TW).chunk(2, dim=1)
        strength_TV = strength_TV.sigmoid().float()
        decay_TV = self.rates_V * F.softplus(time_TV.float() + self.step_bias_V.float())
        y_TVD = gate_TZ.new_empty(len(x_TW), sizes.num_value_heads, sizes.value_dim)
        for rows in states.prefilling:
            own = slice(rows.start, rows.stop)
            y_TVD[own] = self._prefill(states, rows, mixed_TN[own], decay_TV[own], strength_TV[own])
        if len(at_S := states.decoding_rows_S):
            y_TVD[at_S] = self._decode(states, mixed_TN[at_S], decay_TV[at_S], strength_TV[at_S])
        y_TVD = F.rms_norm(y_TVD.float(), self.norm_D.shape, eps=self.norm_eps).to(y_TVD.dtype) * self.norm_D
        gate_TVD = gate_TZ.float().view(y_TVD.shape)
        return self.out((y_TVD * F.silu(gate_TVD)).to(x_TW.dtype).flatten(1))

    def _prefill(
        self, states: StepStates, rows: StateRows, mixed_TN: Tensor, decay_TV: Tensor, strength_TV: Tensor
    ) -> Tensor:
        """One sequence's rows: [T, V, D]."""
        inputs = torch.cat([states.of(INPUTS, self.state_index, rows), mixed_TN])
        mixed_TN = self._convolved([inputs[j : j + len(mixed_TN)] for j in range(self.heads.num_taps)])
        own_VT = DeltaRows(*self._heads(mixed_TN), decay_TV, strength_TV).transposed()
        matrix_VKD = states.of(MATRICES, self.state_index, rows)
        outputs = []
        for start, stop, slots in rows.runs:
            first, end = start - rows.start, stop - rows.start
            output_VTD, matrix_VKD = delta_rule(own_VT.between(first, end), matrix_VKD)
            outputs.append(output_VTD)
            states.put(MATRICES, self.state_index, slots, matrix_VKD)
            states.put(INPUTS, self.state_index, slots, inputs[end : end + self.heads.num_taps - 1])
        return torch.cat(outputs, dim=1).transpose(0, 1).to(mixed_TN.dtype)

    def _decode(self, states: StepStates, mixed_SN: Tensor, decay_SV: Tensor, strength_SV: Tensor) -> Tensor:
        """One row of each sequence: [S, V, D]."""
        inputs_SJN = torch.cat([states.of_decoding(INPUTS, self.state_index), mixed_SN[:, None]], dim=1)
        states.put_decoding(INPUTS, self.state_index, inputs_SJN[:, 1:])
        own_SV = DeltaRows(*self._heads(self._convolved(inputs_SJN.unbind(dim=1))), decay_SV, strength_SV)
        matrices_SVKD = states.of_decoding(MATRICES, self.state_index)
        output_SVD = delta_step(own_SV, matrices_SVKD)
        states.put_decoding(MATRICES, self.state_index, matrices_SVKD)
        return output_SVD.to(mixed_SN.dtype)

    def _convolved(self, inputs: Sequence[Tensor]) -> Tensor:
        """Each tap's inputs [T, N] -> [T, N]"""
        mixed_TN = inputs[0] * self.taps_JN[0]
        for input_TN, tap_N in zip(inputs[1:], self.taps_JN[1:], strict=True):
            mixed_TN.addcmul_(input_TN, tap_N)
        return F.silu(mixed_TN)

    def _heads(self, mixed_TN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys of unit length, repeated for each value head, and values: float32 [T, V, ...]."""
        sizes = self.heads
        query, key, value = torch.split(mixed_TN.float(), sizes.widths, dim=1)
        query_TGK, key_TGK = (_unit(torch.unflatten(x, 1, (-1, sizes.key_dim))) for x in (query, key))
        repeats = sizes.num_value_heads // sizes.num_key_heads
        return (
            (query_TGK * sizes.key_dim**-0.5).repeat_interleave(repeats, dim=1),
            key_TGK.repeat_interleave(repeats, dim=1),
            torch.unflatten(value, 1, (-1, sizes.value_dim)),
        )


class DeltaRows(NamedTuple):
    """What the rule is given, in float32: [S, V, ...] for a token of each sequence, [V, T, ...] for one's tokens."""

    query: Tensor
    key: Tensor
    value: Tensor
    decay: Tensor  # the logarithm of what is left of the matrix
    strength: Tensor  # of the correction, from 0 to 1

    def transposed(self) -> DeltaRows:
        return DeltaRows(*(x.transpose(0, 1) for x in self))

    def between(self, start: int, stop: int) -> DeltaRows:
        """[V, T, ...] -> [V, stop - start, ...]"""
        return DeltaRows(*(x[:, start:stop] for x in self))

    def chunks(self) -> Iterator[DeltaRows]:
        """[V, T, ...] -> [V, C, ...] each"""
        return map(DeltaRows._make, zip(*(torch.split(x, CHUNK, dim=1) for x in self), strict=True))


def delta_step(rows: DeltaRows, matrix_SVKD: Tensor) -> Tensor:
    """One token of each sequence: [S, V, D]. `matrix_SVKD` is overwritten with what it becomes."""
    matrix_SVKD *= rows.decay.exp()[..., None, None]
    known_SVD = (rows.key.unsqueeze(-2) @ matrix_SVKD).squeeze(-2)
    correction_SVD = (rows.value - known_SVD) * rows.strength.unsqueeze(-1)
    key_column, correction_row = rows.key.flatten(0, 1).unsqueeze(-1), correction_SVD.flatten(0, 1).unsqueeze(-2)
    matrix_SVKD.flatten(0, 1).baddbmm_(key_column, correction_row)
    return (rows.query.unsqueeze(-2) @ matrix_SVKD).squeeze(-2)


def delta_rule(rows: DeltaRows, matrix_VKD: Tensor) -> tuple[Tensor, Tensor]:
    """Many tokens of one sequence: the outputs [V, T, D], and what the matrix becomes."""
    outputs = []
    for chunk in rows.chunks():
        output_VCD, matrix_VKD = _delta_chunk(chunk, matrix_VKD)
        outputs.append(output_VCD)
    return torch.cat(outputs, dim=1), matrix_VKD


def _delta_chunk(rows: DeltaRows, matrix_VKD: Tensor) -> tuple[Tensor, Tensor]:
    """A token's correction depends on those before it: a triangular system, solved for all tokens at once."""
    query_VCK, key_VCK, value_VCD, decay_VC, strength_VC = rows
    strength_VC1, before_VC1 = strength_VC.unsqueeze(-1), decay_VC.cumsum(dim=1).exp().unsqueeze(-1)
    # What is left of one token's correction at a later token. Differences of sums from the start would be less exact.
    left_VCC = decay_VC.unsqueeze(-1).expand(-1, -1, decay_VC.shape[1]).tril(-1).cumsum(dim=1).exp().tril()
    system_VCC = (key_VCK @ key_VCK.transpose(1, 2)) * left_VCC * strength_VC1
    missing_VCD = (value_VCD - (key_VCK * before_VC1) @ matrix_VKD) * strength_VC1
    corrections_VCD = torch.linalg.solve_triangular(system_VCC, missing_VCD, upper=False, unitriangular=True)
    seen_VCC = (query_VCK @ key_VCK.transpose(1, 2)) * left_VCC
    output_VCD = (query_VCK * before_VC1) @ matrix_VKD + seen_VCC @ corrections_VCD
    kept_VKC = key_VCK.transpose(1, 2) * left_VCC[:, -1:]
    return output_VCD, matrix_VKD * before_VC1[:, -1:] + kept_VKC @ corrections_VCD


def _unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).sum(dim=-1, keepdim=True) + EPS)

"""Gated delta networks, against the rule in float64, a token at a time; and what becomes of their states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from foveal.layers.attention.batch import AttentionBatch
from foveal.layers.gated_delta import DeltaHeads, DeltaRows, GatedDeltaNet, delta_rule, delta_step
from foveal.layers.linear.load import Weights
from foveal.layers.states import Save, StateRows, StepStates, state_tensors
from foveal.layers.step import StepContext

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CPU = torch.device("cpu")
NUM_HEADS, KEY_DIM, VALUE_DIM = 3, 12, 8
HEADS = DeltaHeads(num_key_heads=2, num_value_heads=4, key_dim=12, value_dim=8, num_taps=4)
WIDTH = 16


def random_rows(num_tokens: int, seed: int, decay: float = 1.0) -> tuple[DeltaRows, torch.Tensor]:
    """Rows [V, T, ...] whose keys have the length that the layer gives them, and a matrix that is not empty."""
    torch.manual_seed(seed)
    query, key = torch.nn.functional.normalize(torch.randn(2, NUM_HEADS, num_tokens, KEY_DIM), dim=-1)
    rows = DeltaRows(
        query,
        key,
        torch.randn(NUM_HEADS, num_tokens, VALUE_DIM),
        -decay * torch.rand(NUM_HEADS, num_tokens),
        torch.rand(NUM_HEADS, num_tokens),
    )
    return rows, torch.randn(NUM_HEADS, KEY_DIM, VALUE_DIM)


def by_definition(rows: DeltaRows, matrix: torch.Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """S <- a S + b k (v - a S^T k)^T and y = S^T q, in float64: the outputs [V, T, D] and the last matrix."""
    query, key, value, decay, strength = (x.double().numpy() for x in rows)
    last, outputs = matrix.double().numpy().copy(), np.zeros(value.shape)
    for head in range(NUM_HEADS):
        state = last[head]
        for token in range(key.shape[1]):
            state = state * np.exp(decay[head, token])
            missing = value[head, token] - state.T @ key[head, token]
            state = state + strength[head, token] * np.outer(key[head, token], missing)
            outputs[head, token] = state.T @ query[head, token]
        last[head] = state
    return outputs, last


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("decay", [0.0, 1.0, 40.0])
@pytest.mark.parametrize("num_tokens", [1, 2, 63, 64, 65, 200])
def test_many_tokens_at_once_are_the_rule_token_by_token(num_tokens: int, decay: float, seed: int) -> None:
    rows, matrix = random_rows(num_tokens, seed, decay)
    expected, last = by_definition(rows, matrix)

    output, became = delta_rule(rows, matrix)

    np.testing.assert_allclose(output.numpy(), expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(became.numpy(), last, atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_token_of_each_sequence_is_the_rule(seed: int) -> None:
    sequences = [random_rows(1, 10 * seed + i) for i in range(5)]
    matrices = torch.stack([matrix for _, matrix in sequences])
    expected = [by_definition(rows, matrix) for rows, matrix in sequences]

    parts = zip(*(rows for rows, _ in sequences), strict=True)
    output = delta_step(DeltaRows(*(torch.stack(part)[:, :, 0] for part in parts)), matrices)

    np.testing.assert_allclose(output.numpy(), np.stack([y[:, 0] for y, _ in expected]), atol=1e-5, rtol=0)
    np.testing.assert_allclose(matrices.numpy(), np.stack([last for _, last in expected]), atol=1e-5, rtol=0)


# --- a layer and its states -------------------------------------------------------------------------------------------


def random_layer(seed: int = 0) -> GatedDeltaNet:
    torch.manual_seed(seed)
    mixed, values = sum(HEADS.widths), HEADS.widths[-1]
    shapes = {
        "in_proj_qkv.weight": (mixed, WIDTH),
        "in_proj_z.weight": (values, WIDTH),
        "in_proj_b.weight": (HEADS.num_value_heads, WIDTH),
        "in_proj_a.weight": (HEADS.num_value_heads, WIDTH),
        "conv1d.weight": (mixed, 1, HEADS.num_taps),
        "A_log": (HEADS.num_value_heads,),
        "dt_bias": (HEADS.num_value_heads,),
        "norm.weight": (HEADS.value_dim,),
        "out_proj.weight": (WIDTH, values),
    }
    tensors = {f"l.{name}": torch.randn(shape) / shape[-1] ** 0.5 for name, shape in shapes.items()}
    return GatedDeltaNet.load(Weights(tensors), "l", HEADS, 1e-6, state_index=0)


class Slots:
    """A layer over slots of states, all of them filled with what nobody may read."""

    def __init__(self, num_slots: int = 6) -> None:
        self.layer = random_layer()
        self.tensors = state_tensors(HEADS.state_shapes(1), num_slots, torch.float32, CPU)
        for tensor in self.tensors:
            tensor.fill_(torch.nan)

    def compute(self, x_TW: torch.Tensor, rows: Sequence[StateRows], commits: bool = True) -> torch.Tensor:
        states = StepStates(self.tensors, rows)
        batch = AttentionBatch([0, len(x_TW)], [len(x_TW)], [[]], [], 1)
        step = StepContext(torch.zeros(1, len(x_TW)), batch, {}, torch.empty(0), None, states)
        y_TW = self.layer(x_TW, {}, step)
        if commits:
            states.commit()
        return y_TW

    def state(self, slot: int) -> list[torch.Tensor]:
        return [tensor[0, slot].clone() for tensor in self.tensors]


def test_cut_anywhere_a_sequence_is_the_same() -> None:
    x = torch.randn(40, WIDTH)
    whole = Slots().compute(x, [StateRows(0, 40, 0, is_fresh=True)])

    slots, outputs, at = Slots(), list[torch.Tensor](), 0
    for stop in (1, 2, 4, 20, 21, 40):
        outputs.append(slots.compute(x[at:stop], [StateRows(0, stop - at, 2, is_fresh=at == 0)]))
        at = stop

    torch.testing.assert_close(torch.cat(outputs), whole, atol=1e-5, rtol=0)


def test_sequences_of_one_step_do_not_touch_one_another() -> None:
    xs = [torch.randn(length + 1, WIDTH) for length in (3, 1, 9)]
    alone = []
    for x in xs:
        slots = Slots()
        slots.compute(x[:-1], [StateRows(0, len(x) - 1, 0, is_fresh=True)])
        alone.append(slots.compute(x[-1:], [StateRows(0, 1, 0, is_fresh=False)]))

    slots = Slots()
    slots.compute(torch.cat([xs[0][:-1], xs[1][:-1]]), [StateRows(0, 3, 4, True), StateRows(3, 4, 1, True)])
    together = slots.compute(
        torch.cat([xs[1][-1:], xs[2][:-1], xs[0][-1:]]),
        [StateRows(0, 1, 1, False), StateRows(1, 10, 0, True), StateRows(10, 11, 4, False)],
    )

    torch.testing.assert_close(together[:1], alone[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(together[-1:], alone[0], atol=1e-5, rtol=0)


def test_a_saved_state_is_that_after_its_row() -> None:
    x = torch.randn(30, WIDTH)
    expected = {}
    for length in (1, 7, 29, 30):
        slots = Slots()
        slots.compute(x[:length], [StateRows(0, length, 0, is_fresh=True)])
        expected[length] = slots.state(0)

    slots = Slots()
    slots.compute(x[:29], [StateRows(0, 29, 0, True, (Save(1, 1), Save(7, 2), Save(29, 3)))])
    slots.compute(x[29:], [StateRows(0, 1, 0, False, (Save(1, 4),))])

    for length, slot in ((1, 1), (7, 2), (29, 3), (30, 4), (30, 0)):
        torch.testing.assert_close(slots.state(slot), expected[length], atol=1e-5, rtol=0)


def test_a_step_that_is_not_committed_can_be_computed_again() -> None:
    x, rows = torch.randn(9, WIDTH), [StateRows(0, 1, 0, False), StateRows(1, 4, 1, False, (Save(2, 3),))]
    slots = Slots()
    slots.compute(x[:5], [StateRows(0, 2, 0, True), StateRows(2, 5, 1, True)])

    first = slots.compute(x[5:], rows, commits=False)

    assert torch.equal(slots.compute(x[5:], rows), first)

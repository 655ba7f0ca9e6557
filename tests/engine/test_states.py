"""An engine over a model with states: each sequence's next token depends on a state of its own, and on that alone.

A state that is fresh, foreign, too old or too new gives other tokens at once, and nothing else would show it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch

from foveal.engine.runner import Runner
from foveal.layers.step import StateShape
from foveal.types import Prompt, SamplingParams
from tests.engine.toy import FAILING, USUAL, ToyDecoder, ToyEngine, picture, prompt_of, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from foveal.layers.states import StepStates
    from foveal.layers.step import StepContext

END = 7  # the token that ends a turn
TURNS = SamplingParams(temperature=0.0, max_tokens=8, stop_token_ids=(END,), ignore_eos=True)


def after(state: float, values: Iterable[float]) -> list[float]:
    """The states after each of some values: they depend on all values before, and on their order."""
    states = []
    for value in values:
        state = (3 * state + value + 1) % 7919
        states.append(state)
    return states


@dataclass
class ToyWithStates(ToyDecoder):
    state_shapes: Sequence[StateShape] = (StateShape(1, (2,), torch.float64),)

    def decode(self, x_T1: torch.Tensor, step: StepContext) -> torch.Tensor:
        super().decode(x_T1, step)
        states, hidden = step.states, torch.zeros_like(x_T1)
        assert states is not None
        for rows in states.prefilling:
            state = float(states.of(0, 0, rows)[0])
            found = after(state, x_T1[rows.start : rows.stop, 0].tolist())
            hidden[rows.start : rows.stop, 0] = torch.tensor(found)
            for _, stop, slots in rows.runs:
                states.put(0, 0, slots, torch.full((2,), found[stop - rows.start - 1], dtype=torch.float64))
        self._decode(x_T1, states, hidden)
        return hidden

    def _decode(self, x_T1: torch.Tensor, states: StepStates, hidden: torch.Tensor) -> None:
        at = states.decoding_rows_S
        before = states.of_decoding(0, 0)[:, 0].tolist()
        found = [after(state, [value])[0] for state, value in zip(before, x_T1[at, 0].tolist(), strict=True)]
        hidden[at, 0] = torch.tensor(found, dtype=hidden.dtype)
        states.put_decoding(0, 0, torch.tensor(found, dtype=torch.float64)[:, None].expand(-1, 2))


def expected(token_ids: Sequence[int], num_tokens: int = 8) -> list[int]:
    values, output = [*token_ids], list[int]()
    while len(output) < num_tokens:
        state = after(0.0, map(float, values))[-1]
        output.append(int(ToyDecoder().logits(torch.tensor([[state]], dtype=torch.float64)).argmax()))
        values.append(output[-1])
    return output


def toy(num_snapshots: int = 32, **settings: int) -> ToyEngine:
    return ToyEngine(USUAL, ToyWithStates(), num_snapshots, **settings)


def num_cached(engine: ToyEngine, sequence_id: int) -> int:
    return engine.tokens[sequence_id][0].num_cached_tokens


@pytest.mark.parametrize("settings", [{}, {"max_num_batched_tokens": 3}, {"block_size": 1}, {"num_snapshots": 0}])
def test_batched_and_in_chunks_the_tokens_are_the_definitions(settings: dict[str, int]) -> None:
    engine, texts = toy(**settings), [text(length, seed=length) for length in (1, 2, 9, 40)]

    ids = [engine.add(prompt_of(token_ids)) for token_ids in texts]
    engine.finish()

    assert [engine.token_ids(sequence_id) for sequence_id in ids] == [*map(expected, texts)]


def test_a_repeated_prompt_starts_from_its_last_whole_block() -> None:
    engine, token_ids = toy(), text(23)
    engine.answer(prompt_of(token_ids))

    again = engine.add(prompt_of(token_ids))
    engine.finish()

    assert num_cached(engine, again) == 20
    assert engine.token_ids(again) == expected(token_ids)


def test_the_next_turn_computes_what_is_new() -> None:
    engine, token_ids = toy(), text(23)
    answer = engine.answer(prompt_of(token_ids))
    longer = [*token_ids, *answer, *text(5, seed=1)]  # 7 of 8 tokens of the answer are computed: 30, and 28 in blocks

    turn = engine.add(prompt_of(longer))
    engine.finish()

    assert num_cached(engine, turn) == 28
    assert engine.token_ids(turn) == expected(longer)


def test_a_turn_that_goes_on_otherwise_starts_from_the_last_turns_end() -> None:
    """As with templates that drop what was thought: what comes after the question's end differs."""
    engine = toy()
    question = [*text(35), END]
    engine.answer(prompt_of(question, text(20, seed=1)), TURNS)
    other = [*question, *text(21, seed=2)]

    turn = engine.add(prompt_of(other), TURNS)
    engine.finish()

    assert num_cached(engine, turn) == 36
    assert engine.token_ids(turn) == expected(other)


def test_another_question_about_an_image_starts_from_its_end() -> None:
    engine = toy()
    image = picture(engine.arena, seed=1, num_tokens=10)
    engine.answer(prompt_of(text(30), image, text(12, seed=1)))

    first = toy()
    other = prompt_of(text(30), picture(first.arena, seed=1, num_tokens=10), text(12, seed=2))
    turn = engine.add(other)
    engine.finish()

    assert num_cached(engine, turn) == 40
    assert engine.token_ids(turn) == first.answer(other)


def test_a_prefix_without_a_snapshot_is_computed() -> None:
    engine = toy()
    engine.answer(prompt_of(text(40)))
    common = [*text(40)[:30], *text(9, seed=1)]

    turn = engine.add(prompt_of(common))
    engine.finish()

    assert num_cached(engine, turn) == 0
    assert engine.token_ids(turn) == expected(common)


def test_a_state_that_is_not_copied_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure that is silent in production: the tests here see it."""
    monkeypatch.setattr(Runner, "copy_states", lambda *_: None)
    engine, token_ids = toy(), text(23)
    engine.answer(prompt_of(token_ids))

    assert engine.answer(prompt_of(token_ids)) != expected(token_ids)


def test_a_preempted_sequence_goes_on_with_the_same_tokens() -> None:
    engine = toy(num_blocks=22, block_size=1)
    texts = [text(9, seed=seed) for seed in (1, 2)]

    ids = [engine.add(prompt_of(token_ids)) for token_ids in texts]
    engine.finish()

    assert engine.engine.scheduler.num_preemptions > 0
    assert [engine.token_ids(sequence_id) for sequence_id in ids] == [*map(expected, texts)]


def test_a_request_that_fails_leaves_the_states_of_others_as_they_were() -> None:
    """The step is computed again without it. The others' states must not have moved on meanwhile."""
    engine, token_ids = toy(), text(20)
    going = engine.add(prompt_of(token_ids))
    engine.step()
    engine.step()

    failing = engine.add(prompt_of(text(9, seed=1), FAILING))
    engine.finish()

    assert engine.ends[failing] == ["The model could not continue this prompt."]
    assert engine.token_ids(going) == expected(token_ids)
    assert engine.answer(prompt_of(token_ids)) == expected(token_ids)


def test_an_aborted_request_gives_its_slot_back() -> None:
    engine = toy(max_num_seqs=1)
    aborted = engine.add(prompt_of(text(20)))
    engine.step()

    engine.engine.abort(aborted)

    assert engine.answer(prompt_of(text(9, seed=1))) == expected(text(9, seed=1))
    assert engine.ends[aborted] == ["aborted"]


@pytest.mark.parametrize("seed", range(6))
def test_however_much_is_evicted_every_answer_is_the_definitions(seed: int) -> None:
    """Prompts that share beginnings, in little memory: blocks and snapshots come and go apart from one another."""
    rng = random.Random(seed)
    engine = toy(rng.choice([1, 3, 8]), num_blocks=40, max_num_seqs=4, max_num_batched_tokens=16)
    stems = [[token_id for turn in range(4) for token_id in [*text(15, seed=10 * i + turn), END]] for i in range(3)]
    asked: dict[int, list[int]] = {}
    for number in range(60):
        stem = rng.choice(stems)[: rng.choice([0, 16, 32, 48, rng.randrange(49)])]
        token_ids = [*stem, *text(rng.randrange(1, 12), seed=number % 7)]
        sequence_id = engine.add(Prompt(tuple(token_ids), share=f"caller {number % 3}"), TURNS)
        asked[sequence_id] = token_ids
        for _ in range(rng.randrange(6)):
            engine.step()
        if rng.random() < 0.1:
            engine.engine.abort(sequence_id)
            del asked[sequence_id]
    engine.finish()

    assert {sequence_id: engine.token_ids(sequence_id) for sequence_id in asked} == {
        sequence_id: expected(token_ids) for sequence_id, token_ids in asked.items()
    }
    assert any(num_cached(engine, sequence_id) for sequence_id in asked)

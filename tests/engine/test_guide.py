"""engine/guide.py: a grammar's masks hold up their own answer, and no other."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from foveal.engine import guide
from foveal.engine.engine import GRAMMAR_FAILED
from foveal.engine.grammar import GrammarError
from foveal.engine.guide import Guides
from tests.engine.toy import GREEDY, VOCAB_SIZE, ToyEngine, expected_tokens, prompt_of, text

HELD = replace(GREEDY, grammar="any")


@dataclass
class SlowMasks:
    """Allows every token, but only when the test says so; the place where it waits is the test's choice."""

    waits_at: int = 0  # tokens of the answer
    may_go_on: threading.Event = field(default_factory=threading.Event)

    closing = None

    def start(self, text: str, stop_token_ids: Sequence[int], max_tokens: int) -> SlowMasks:
        return self

    def allowed(self, output_token_ids: Sequence[int], vocab_size: int) -> NDArray[np.bool_]:
        if len(output_token_ids) >= self.waits_at:
            self.may_go_on.wait()
        return np.ones(vocab_size, np.bool_)


@pytest.fixture(params=[0, 3])
def masks(request: pytest.FixtureRequest) -> Iterator[SlowMasks]:
    masks = SlowMasks(waits_at=request.param)
    yield masks
    masks.may_go_on.set()  # or the thread would never end


def engine_with(masks: SlowMasks) -> ToyEngine:
    toy = ToyEngine()
    toy.engine.guides = Guides(masks.start, VOCAB_SIZE)
    return toy


def step_until_done(toy: ToyEngine, sequence_id: int) -> None:
    for _ in range(1000):
        if sequence_id in toy.ends:
            return
        toy.step()
    raise TimeoutError("the answer does not end")


def test_other_answers_end_while_a_mask_is_being_computed(masks: SlowMasks) -> None:
    toy = engine_with(masks)
    held, other = toy.add(prompt_of(text(30)), HELD), toy.add(prompt_of(text(9)))

    step_until_done(toy, other)

    assert toy.token_ids(other) == expected_tokens(prompt_of(text(9)), 8, toy.arena)
    assert (len(toy.tokens[held]), held in toy.ends) == (masks.waits_at, False)

    masks.may_go_on.set()
    toy.finish()

    assert toy.token_ids(held) == expected_tokens(prompt_of(text(30)), 8, toy.arena)


def test_an_answer_whose_mask_never_comes_fails_alone(masks: SlowMasks, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = engine_with(masks)
    held = toy.add(prompt_of(text(30)), HELD)
    while len(toy.tokens[held]) < masks.waits_at:
        toy.step()

    monkeypatch.setattr(guide, "LIMIT_S", 0.0)
    other = toy.add(prompt_of(text(9)))
    toy.finish()

    assert toy.ends == {held: [GRAMMAR_FAILED], other: ["length"]}


def test_an_answer_that_waits_for_its_mask_can_be_aborted(masks: SlowMasks) -> None:
    toy = engine_with(masks)
    held = toy.add(prompt_of(text(30)), HELD)
    for _ in range(masks.waits_at + 3):
        toy.step()

    toy.engine.abort(held)
    toy.finish()

    assert toy.ends == {held: ["aborted"]}


def test_an_answer_that_waits_is_named_as_running_in_case_its_grammar_ends_the_process(masks: SlowMasks) -> None:
    toy = engine_with(masks)
    held = toy.add(prompt_of(text(30)), HELD)
    for _ in range(masks.waits_at + 3):
        toy.step()
    started: list[tuple[int, ...]] = []

    toy.engine.step(started.append)

    assert started == [(held,)]


def test_a_grammar_that_has_failed_is_never_ready() -> None:
    """Or the step would draw from it, fail, and be run again for one sequence at a time."""

    def refuse(text: str, stop_token_ids: Sequence[int], max_tokens: int) -> SlowMasks:
        raise GrammarError("no")

    one = Guides(refuse, VOCAB_SIZE).start("any", (), 8)
    with pytest.raises(GrammarError, match="no"):
        one.allowed()  # waits for it

    assert not one.is_ready
    assert isinstance(one.failure(), GrammarError)

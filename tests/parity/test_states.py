"""Hybrid models over the prefix cache: what starts from a snapshot has the logits of what was computed whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image

from foveal.engine.runner import Runner
from foveal.models.registry import load_processor
from tests.builders import picture, prepared_prompt
from tests.parity.families import FAMILIES
from tests.parity.naive import naive_greedy
from tests.parity.test_engine import Asked, Question

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from foveal.models.family import Model, Processor

LOGPROB_TOLERANCE = 1e-4
SEGMENT = range(10, 60)


class Hybrid:
    """A model and its processor, and conversations about a picture."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.model: Model = FAMILIES["qwen3_5"].make(folder, seed).ours
        self.processor: Processor | None = load_processor(folder)

    def question(self, *segments: list[int], size: tuple[int, int] = (90, 60)) -> Question:
        """Segments of text with pictures between them, and the naive loop's answer."""
        pictures: list[Image.Image] = [picture(*size, seed=i) for i in range(len(segments) - 1)]
        prepared = prepared_prompt(self.processor, list(segments), pictures)
        return Question(prepared, naive_greedy(self.model, prepared.prompt, 20, prepared.pixels))


@pytest.fixture(params=[0, 1])
def hybrid(request: pytest.FixtureRequest, tmp_path: Path) -> Hybrid:
    return Hybrid(tmp_path, request.param)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def test_the_second_turn_about_a_picture_computes_its_new_tokens(
    hybrid: Hybrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(hybrid.model, monkeypatch, encoder_cache_bytes=0)
    first = hybrid.question([*SEGMENT], [70, 80, 90])
    [answer] = asked.token_ids(first)
    second = hybrid.question([*SEGMENT], [70, 80, 90, *answer, 100, 101, 102])
    num_encoded_crops = asked.num_encoded_crops

    [tokens] = asked.tokens(second)

    num_computed_before = len(first.prepared.prompt.token_ids) + len(answer) - 1
    assert tokens[0].num_cached_tokens == num_computed_before // 16 * 16
    assert asked.num_encoded_crops == num_encoded_crops
    assert [token.token_id for token in tokens] == second.greedy
    assert_same_logprobs(hybrid.model, second, tokens_of_cache=[token.logprob for token in tokens])


def test_another_question_about_the_picture_starts_behind_it(hybrid: Hybrid, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(hybrid.model, monkeypatch)
    asked.tokens(hybrid.question([*SEGMENT], [*range(70, 110)]))
    other = hybrid.question([*SEGMENT], [*range(110, 130)])

    [tokens] = asked.tokens(other)

    assert tokens[0].num_cached_tokens == other.images_end // 16 * 16
    assert [token.token_id for token in tokens] == other.greedy
    assert_same_logprobs(hybrid.model, other, tokens_of_cache=[token.logprob for token in tokens])


def test_another_picture_of_the_same_size_shares_nothing_behind_its_start(
    hybrid: Hybrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(hybrid.model, monkeypatch)
    one = hybrid.question([*SEGMENT], [70, 80])
    pictures = [picture(90, 60, seed=9)]
    prepared = prepared_prompt(hybrid.processor, [[*SEGMENT], [70, 80]], pictures)
    other = Question(prepared, naive_greedy(hybrid.model, prepared.prompt, 20, prepared.pixels))
    asked.tokens(one)

    assert asked.token_ids(other) == [other.greedy]


def test_a_state_that_is_not_copied_is_noticed(hybrid: Hybrid, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that starts from a hit with a foreign state crashes nothing: only its numbers tell."""
    monkeypatch.setattr(Runner, "copy_states", lambda *_: None)
    asked = Asked(hybrid.model, monkeypatch)
    question = hybrid.question([*SEGMENT], [*range(70, 110)])
    asked.tokens(question)
    asked.tokens(hybrid.question([*range(20, 90)]))  # whose state is left in the slot

    [tokens] = asked.tokens(question)

    assert tokens[0].num_cached_tokens > 0
    with pytest.raises(AssertionError):
        assert_same_logprobs(hybrid.model, question, tokens_of_cache=[token.logprob for token in tokens])


def assert_same_logprobs(model: Model, question: Question, tokens_of_cache: list[float | None]) -> None:
    """The same answer of an engine that has nothing cached."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        [tokens] = Asked(model, monkeypatch, num_snapshots=0).tokens(question)
    assert tokens[0].num_cached_tokens == 0
    assert tokens_of_cache == pytest.approx([token.logprob for token in tokens], abs=LOGPROB_TOLERANCE)

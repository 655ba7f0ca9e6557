"""engine/prompt_logprobs.py: the logprobs of a prompt's tokens, against those of one forward over all of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from foveal.engine import prompt_logprobs as module
from foveal.engine.protocol import Submit
from foveal.types import Prompt, PromptLogprob
from tests.engine.toy import GREEDY, USUAL, ToyDecoder, ToyEngine, picture, prompt_of, text, toy_model
from tests.parity.naive import NaiveRun

TOP = 3


def naive(prompt: Prompt, toy: ToyEngine) -> list[float | None]:
    """Of each token of the prompt, from one forward over all of it; None for the first one and places of images."""
    pixels = [toy.arena.view(image.image.pixels) for image in prompt.images]
    run = NaiveRun(toy_model(), prompt, len(prompt.token_ids) + 8, pixels, torch.float64)
    logprobs = ToyDecoder().logits(run.prefill())[:-1].log_softmax(dim=-1)
    ids = torch.tensor(prompt.token_ids[1:]).unsqueeze(1)
    found: list[float | None] = [None, *logprobs.gather(1, ids).flatten().tolist()]
    for image in prompt.images:
        for span in image.spans:
            found[span.offset : span.end] = [None] * span.length
    return found


def asked(toy: ToyEngine, prompt: Prompt, num_tokens: int | None = None) -> int:
    num_tokens = len(prompt.token_ids) if num_tokens is None else num_tokens
    return toy.add(prompt, replace(GREEDY, num_logprobs=TOP, num_prompt_logprobs=num_tokens))


def values(found: tuple[PromptLogprob, ...]) -> list[float | None]:
    return [known.logprob for known in found]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="whole"),
        pytest.param({"max_num_batched_tokens": 7}, id="chunked"),
        pytest.param({"max_num_batched_tokens": 1}, id="a token a step"),
        pytest.param({"num_blocks": 19, "max_num_batched_tokens": 16}, id="preempted"),
    ],
)
@pytest.mark.parametrize("num_at_once", [1, 5, 64])
def test_they_are_those_of_one_forward_however_it_is_cut(
    settings: dict[str, int], num_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NUM_AT_ONCE", num_at_once)
    toy = ToyEngine(USUAL, **settings)
    prompts = [prompt_of(text(30, 1)), prompt_of(5, picture(toy.arena, 1), text(6)), prompt_of(text(1))]
    ids = [asked(toy, prompt) for prompt in prompts]

    toy.finish()

    for sequence_id, prompt in zip(ids, prompts, strict=True):
        first, *others = toy.tokens[sequence_id]
        assert values(first.prompt_logprobs) == pytest.approx(naive(prompt, toy), abs=1e-5)
        assert not any(token.prompt_logprobs for token in others)


def test_the_likeliest_tokens_of_each_place_come_with_them() -> None:
    toy = ToyEngine()
    sequence_id = asked(toy, prompt_of(text(9)))
    toy.finish()
    first, *rest = toy.tokens[sequence_id][0].prompt_logprobs
    assert first == PromptLogprob(None)
    for known in rest:
        assert len(known.top) == TOP
        assert [top.logprob for top in known.top] == sorted((top.logprob for top in known.top), reverse=True)
        assert known.logprob is not None
        assert known.logprob <= known.top[0].logprob


@pytest.mark.parametrize("num_tokens", [1, 4, 12, 13, 20])
def test_the_last_ones_alone_use_the_cache_as_far_as_they_can(num_tokens: int) -> None:
    """Blocks of four tokens; of the 20, the state before the first that is asked for has to be computed."""
    toy = ToyEngine()
    prompt = prompt_of(text(20))
    toy.answer(prompt)
    num_before = toy.decoder.num_computed_tokens

    sequence_id = asked(toy, prompt, num_tokens)
    toy.finish()

    first = toy.tokens[sequence_id][0]
    assert values(first.prompt_logprobs) == pytest.approx(naive(prompt, toy)[-num_tokens:], abs=1e-5)
    num_cached = max(20 - num_tokens - 1, 0) // 4 * 4
    assert first.num_cached_tokens == num_cached
    assert toy.decoder.num_computed_tokens - num_before == 20 - num_cached + 7  # seven are fed back


def test_who_asks_for_none_gets_none() -> None:
    toy = ToyEngine()
    sequence_id = toy.add(prompt_of(text(9)), replace(GREEDY, num_logprobs=TOP))
    toy.finish()
    assert not any(token.prompt_logprobs for token in toy.tokens[sequence_id])


def test_neighbours_in_a_batch_get_what_they_get_alone() -> None:
    alone, together = ToyEngine(), ToyEngine(max_num_batched_tokens=9)
    prompt = prompt_of(text(17, 4))
    expected = alone.answer(prompt)
    others = [asked(together, prompt_of(text(20, seed))) for seed in range(3)]
    plain = together.add(prompt)
    together.finish()
    assert together.token_ids(plain) == expected
    assert all(together.tokens[sequence_id][0].prompt_logprobs for sequence_id in others)


def test_a_request_that_is_resumed_behind_its_first_token_is_not_asked_again() -> None:
    toy = ToyEngine()
    prompt = prompt_of(text(9))
    tokens = toy.answer(prompt)
    sampling = replace(GREEDY, num_logprobs=TOP, num_prompt_logprobs=9)
    toy.engine.add(Submit(99, prompt, sampling, tuple(tokens[:2])))
    toy.finish()
    assert toy.token_ids(99) == tokens[2:]
    assert not any(token.prompt_logprobs for token in toy.tokens[99])


def test_logits_are_made_for_a_few_positions_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    toy = ToyEngine()
    make = toy.decoder.logits

    def counted(hidden: torch.Tensor) -> torch.Tensor:
        rows.append(len(hidden))
        return make(hidden)

    monkeypatch.setattr(toy.decoder, "logits", counted)
    asked(toy, prompt_of(text(200)))
    toy.finish()
    assert max(rows) == module.NUM_AT_ONCE
    assert sum(rows) == 199 + 8

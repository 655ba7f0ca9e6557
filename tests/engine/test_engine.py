"""engine/engine.py: the right tokens, however the engine batches, caches and preempts."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from foveal.engine.engine import COMPUTATION_FAILED, GRAMMAR_FAILED, IMAGE_FAILED, TOO_LARGE
from foveal.engine.grammar import Grammars
from foveal.engine.guide import Guides
from foveal.engine.protocol import Submit
from foveal.models.family import ImageTraits
from foveal.types import Prompt, SamplingParams
from tests.builders import byte_tokenizer
from tests.engine.toy import FAILING, GREEDY, NAN, VOCAB_SIZE, ToyEngine, expected_tokens, picture, prompt_of, text


def mixed_prompts(toy: ToyEngine) -> list[Prompt]:
    """Text, one image, a large image, several images, the same image twice."""
    small, large = picture(toy.arena, 1), picture(toy.arena, 2, num_crops=11, num_tokens=30)
    return [
        prompt_of(text(3)),
        prompt_of(text(50, 1)),
        prompt_of(5, small, text(6)),
        prompt_of(7, large, text(9)),
        prompt_of(large, 8, small, text(3, 2), picture(toy.arena, 3, 3, 10), 9),
        prompt_of(1, small, 2, small, 3),
    ]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="roomy"),
        pytest.param({"max_num_batched_tokens": 7}, id="chunked"),
        pytest.param({"max_num_batched_tokens": 1}, id="a token a step"),
        pytest.param({"max_num_batched_crops": 2}, id="encoder split over steps"),
        pytest.param({"max_num_seqs": 2}, id="two at a time"),
        pytest.param({"num_blocks": 19, "max_num_batched_tokens": 16}, id="preempted"),
        pytest.param({"encoder_cache_bytes": 0, "max_num_batched_crops": 1}, id="no encoder cache"),
        pytest.param({"block_size": 1}, id="blocks of one token"),
        pytest.param({"block_size": 64}, id="blocks longer than prompts"),
    ],
)
@pytest.mark.parametrize(
    "traits",
    [
        pytest.param({}, id="plain"),
        pytest.param({"splits_images": False}, id="unsplit images"),
        pytest.param({"whole_spans": True}, id="whole spans"),
        pytest.param({"rereads_images": True}, id="images read again"),
    ],
)
def test_batched_tokens_are_those_of_the_definition(settings: dict[str, int], traits: dict[str, bool]) -> None:
    toy = ToyEngine(ImageTraits(**traits), **settings)
    prompts = mixed_prompts(toy)
    ids = [toy.add(prompt) for prompt in prompts]

    toy.finish()

    for sequence_id, prompt in zip(ids, prompts, strict=True):
        assert toy.token_ids(sequence_id) == expected_tokens(prompt, 8, toy.arena, ImageTraits(**traits))
        assert toy.ends[sequence_id] == ["length"]


def test_the_tiny_pool_does_preempt() -> None:
    toy = ToyEngine(num_blocks=10)
    ids = [toy.add(prompt_of(text(10, seed)), replace(GREEDY, max_tokens=20)) for seed in range(3)]

    toy.finish()

    assert toy.decoder.num_computed_tokens > 3 * 29
    for seed, sequence_id in enumerate(ids):
        assert toy.token_ids(sequence_id) == expected_tokens(prompt_of(text(10, seed)), 20, toy.arena)


def test_a_repeated_prompt_computes_its_last_tokens_alone_and_encodes_nothing() -> None:
    toy = ToyEngine()
    prompt = prompt_of(text(8), picture(toy.arena, 1, num_crops=5, num_tokens=20), text(5, 1))
    first = toy.answer(prompt)
    num_computed, num_encoded = toy.decoder.num_computed_tokens, toy.images.num_encoded_crops

    again = toy.add(prompt)
    toy.finish()

    assert toy.token_ids(again) == first
    assert toy.images.num_encoded_crops == num_encoded
    assert toy.decoder.num_computed_tokens - num_computed == 1 + 7  # of 33 prompt tokens 32 are cached; 7 are fed back
    assert {token.num_cached_tokens for token in toy.tokens[again]} == {32}


def test_an_image_in_another_place_is_not_encoded_again() -> None:
    toy = ToyEngine()
    image = picture(toy.arena, 1, num_crops=3)
    toy.answer(prompt_of(1, image, 2))

    prompt = prompt_of(text(6), image, 3)
    token_ids = toy.answer(prompt)

    assert token_ids == expected_tokens(prompt, 8, toy.arena)
    assert toy.images.num_encoded_crops == 3


def test_two_that_wait_for_one_image_encode_it_once() -> None:
    toy = ToyEngine(max_num_batched_crops=2)
    image = picture(toy.arena, 1, num_crops=7)
    for first_token in (1, 2, 3):
        toy.add(prompt_of(first_token, image, 4))

    toy.finish()

    assert toy.images.num_encoded_crops == 7
    assert toy.images.crops_of_runs == [2, 2, 2, 1]


def test_a_step_says_for_whom_the_encoder_worked_and_when() -> None:
    toy = ToyEngine(max_num_batched_crops=2)
    with_image = toy.add(prompt_of(1, picture(toy.arena, 1, num_crops=3), 2))
    toy.add(prompt_of(text(6)))
    steps = []
    while not toy.engine.is_idle:
        before_s = time.monotonic()
        steps.append((before_s, toy.engine.step().encoded, time.monotonic()))
    worked = [encoding for _, encoded, _ in steps for encoding in encoded]
    assert {encoding.sequence_id for encoding in worked} == {with_image}
    assert 0 < len(worked) < len(steps)
    for before_s, encoded, after_s in steps:
        assert all(before_s <= encoding.started_s <= encoding.ended_s <= after_s for encoding in encoded)


def test_prompts_of_different_salts_share_neither_blocks_nor_features() -> None:
    toy = ToyEngine()
    image = picture(toy.arena, 1, num_crops=3)
    toy.answer(prompt_of(text(16), image, 1, cache_salt=b"a"))
    num_computed = toy.decoder.num_computed_tokens

    toy.answer(prompt_of(text(16), image, 1, cache_salt=b"b"))

    assert toy.decoder.num_computed_tokens == 2 * num_computed
    assert toy.images.num_encoded_crops == 6


def test_the_encoder_never_stops_those_that_decode() -> None:
    toy = ToyEngine(max_num_batched_crops=1)
    streaming = toy.add(prompt_of(1, 2, 3), replace(GREEDY, max_tokens=20))
    toy.step()
    toy.add(prompt_of(1, picture(toy.arena, 1, num_crops=9), 2))

    for _ in range(10):
        toy.step()

    assert len(toy.tokens[streaming]) == 11


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_resumed_request_goes_on_as_if_nothing_had_been(temperature: float) -> None:
    sampling = SamplingParams(temperature=temperature, max_tokens=12, seed=3, presence_penalty=0.5)
    whole = ToyEngine().answer(prompt_of(text(9)), sampling)
    toy = ToyEngine()

    resumed = toy.add(prompt_of(text(9)), sampling, output=whole[:5])
    toy.finish()

    assert toy.token_ids(resumed) == whole[5:]


@pytest.mark.parametrize(
    ("sampling", "length", "reason"),
    [
        pytest.param(GREEDY, 8, "length", id="max_tokens"),
        pytest.param(replace(GREEDY, max_tokens=10_000), 508, "length", id="end of the context"),
        pytest.param(replace(GREEDY, stop_token_ids=(36,)), 2, "stop", id="stop token"),
        pytest.param(replace(GREEDY, stop_token_ids=(36,), ignore_eos=True), 8, "length", id="ignore_eos"),
    ],
)
def test_why_an_answer_ends(sampling: SamplingParams, length: int, reason: str) -> None:
    toy = ToyEngine()

    sequence_id = toy.add(prompt_of(1, 2, 3, 4), sampling)
    toy.finish()

    assert toy.ends[sequence_id] == [reason]
    assert len(toy.tokens[sequence_id]) == length


def test_min_tokens_keeps_stop_tokens_from_being_drawn() -> None:
    toy = ToyEngine()
    sampling = replace(GREEDY, stop_token_ids=(36,), min_tokens=5)

    token_ids = toy.answer(prompt_of(1, 2, 3, 4), sampling)

    assert len(token_ids) >= 5
    assert 36 not in token_ids[:5]


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        pytest.param([1, FAILING], COMPUTATION_FAILED, id="the model raises"),
        pytest.param([1, NAN], COMPUTATION_FAILED, id="logits are not numbers"),
        pytest.param(["image", 1], IMAGE_FAILED, id="the encoder raises"),
        pytest.param([text(90)], TOO_LARGE, id="larger than the cache"),
    ],
)
def test_a_request_that_fails_fails_alone(parts: list[object], why: str) -> None:
    toy = ToyEngine(num_blocks=20)
    bad_image = picture(toy.arena, 1, value=FAILING)
    good_prompt = prompt_of(picture(toy.arena, 2), 3)
    before, bad, after = (
        toy.add(good_prompt),
        toy.add(prompt_of(*(bad_image if part == "image" else part for part in parts))),  # type: ignore[arg-type]  # a table of parts
        toy.add(prompt_of(9)),
    )

    toy.finish()

    assert toy.ends == {before: ["length"], bad: [why], after: ["length"]}
    assert toy.token_ids(before) == expected_tokens(good_prompt, 8, toy.arena)


@pytest.mark.parametrize(
    ("grammar", "output"),
    [
        pytest.param("no grammar at all", [], id="it cannot be compiled"),
        pytest.param('start: "ab"', byte_tokenizer(()).encode("b", add_special_tokens=False).ids, id="it dies later"),
    ],
)
def test_a_grammar_that_dies_fails_its_own_request_alone(tmp_path: Path, grammar: str, output: list[int]) -> None:
    byte_tokenizer(()).save(str(tmp_path / "tokenizer.json"))
    toy = ToyEngine()
    toy.engine.guides = Guides(Grammars(tmp_path).start, VOCAB_SIZE)

    others = [toy.add(prompt_of(3)), toy.add(prompt_of(9))]
    held = toy.add(prompt_of(4), replace(GREEDY, grammar=grammar), output)
    toy.finish()

    assert toy.ends == {others[0]: ["length"], others[1]: ["length"], held: [GRAMMAR_FAILED]}
    assert toy.token_ids(others[0]) == expected_tokens(prompt_of(3), 8, toy.arena)


def test_a_request_that_outgrows_the_cache_alone_fails() -> None:
    toy = ToyEngine(num_blocks=5)

    sequence_id = toy.add(prompt_of(text(10)), replace(GREEDY, max_tokens=100))
    toy.finish()

    assert toy.ends[sequence_id] == [TOO_LARGE]
    assert len(toy.tokens[sequence_id]) == 11  # 20 positions are held, and the last token needs none


def test_an_abort_frees_everything_at_any_time() -> None:
    toy = ToyEngine(max_num_batched_tokens=8, max_num_batched_crops=2)
    for num_steps in range(12):
        prompt = prompt_of(num_steps, picture(toy.arena, 1, 5, 9), text(12, num_steps))
        sequence_id = toy.add(prompt, replace(GREEDY, max_tokens=50))
        for _ in range(num_steps):
            toy.step()
        toy.engine.abort(sequence_id)
        toy.engine.abort(sequence_id)
        toy.finish()
        assert toy.ends[sequence_id] == ["aborted"]
        assert toy.engine.scheduler.pool.num_available == 256


def test_what_was_made_of_pixels_that_an_abort_set_free_is_not_kept() -> None:
    toy = ToyEngine()
    image = picture(toy.arena, 1)
    aborted = toy.add(prompt_of(image, text(6)))
    toy.arena.view(image.pixels)[:] = 0  # the server has given the place to another picture

    toy.engine.step(receive=lambda: toy.engine.abort(aborted))
    picture(toy.arena, 1)
    token_ids = toy.answer(prompt_of(image, text(6)))

    assert token_ids == expected_tokens(prompt_of(image, text(6)), 8, toy.arena)


@pytest.mark.slow
def test_ten_thousand_requests_leak_nothing() -> None:
    toy = ToyEngine(num_blocks=64, encoder_cache_bytes=1000, max_num_batched_tokens=64)
    images = [picture(toy.arena, seed) for seed in range(50)]
    sampling = replace(GREEDY, max_tokens=1)

    for i in range(10_000):
        toy.engine.add(Submit(i, prompt_of(images[i % 50], i % 59), sampling))
        if i % 10 == 9:
            toy.engine.abort(i)
            while not toy.engine.is_idle:
                toy.engine.step()

    toy.engine.check_integrity()
    assert toy.engine.scheduler.pool.num_available == 64
    assert toy.engine.scheduler.encoder_cache.num_bytes <= 1000

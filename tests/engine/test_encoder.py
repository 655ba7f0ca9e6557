"""engine/encoder.py: images are encoded piece by piece, beside streams, and survive aborts and failures of others.

The clock only moves by what the toy model computes, so that no test depends on a machine's speed.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from foveal.engine.engine import IMAGE_FAILED
from foveal.engine.pace import Pace
from foveal.models.family import ImageTraits
from foveal.types import Prompt
from tests.engine.toy import FAILING, GREEDY, USUAL, ToyEngine, expected_tokens, picture, prompt_of, text

BUDGET_S, STEP_S, TOKEN_S, PIECE_S = 0.1, 0.02, 0.001, 0.015
LONG = replace(GREEDY, max_tokens=200)
TOKENS = text(3)


class Timed(ToyEngine):
    """A toy engine on a machine of known speed."""

    def __init__(
        self,
        traits: ImageTraits = USUAL,
        *,
        budget_s: float | None = BUDGET_S,
        num_blocks: int = 256,
        **settings: float,
    ) -> None:
        super().__init__(traits, num_blocks=num_blocks, **settings)
        self.now_s = 0.0
        self.engine.pace = Pace(budget_s, 512, lambda: self.now_s)
        self.decoder.on_tokens = lambda num_tokens: self.pass_s(STEP_S + num_tokens * TOKEN_S)
        self.images.on_piece = lambda: self.pass_s(PIECE_S)

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds

    def streaming(self, num_streams: int) -> list[int]:
        """Streams that have their first tokens."""
        ids = [self.add(prompt_of(TOKENS, i), LONG) for i in range(1, num_streams + 1)]
        for _ in range(3):
            self.step()
        return ids

    def gaps_s(self, stream: int, until: int) -> list[float]:
        """The times between the tokens of a stream until another request has ended."""
        gaps, start_s = [], self.now_s
        while not self.ends[until]:
            num_tokens = len(self.tokens[stream])
            self.step()
            if len(self.tokens[stream]) > num_tokens:
                gaps.append(self.now_s - start_s)
                start_s = self.now_s
        return gaps


def eight_images(toy: ToyEngine, num_crops: int = 5) -> Prompt:
    return prompt_of(*(picture(toy.arena, seed, num_crops) for seed in range(8)), 9)


@pytest.mark.parametrize("splits_images", [True, False])
@pytest.mark.parametrize("num_streams", [1, 4])
def test_streams_wait_for_images_no_longer_than_the_budget(num_streams: int, splits_images: bool) -> None:
    toy = Timed(ImageTraits(splits_images=splits_images))
    streams = toy.streaming(num_streams)
    prompt = eight_images(toy)

    asked = toy.add(prompt)
    gaps_s = toy.gaps_s(streams[-1], until=asked)

    assert toy.token_ids(asked) == expected_tokens(prompt, 8, toy.arena)
    assert max(gaps_s) <= 1.1 * BUDGET_S
    assert len(gaps_s) >= 80 * PIECE_S / BUDGET_S


def test_streams_wait_for_long_prompts_no_longer_than_the_budget() -> None:
    toy = Timed(num_blocks=1024)
    streams = toy.streaming(2)

    gaps_s = toy.gaps_s(streams[0], until=toy.add(prompt_of(text(400))))

    assert max(gaps_s) <= 1.1 * BUDGET_S
    assert len(gaps_s) < 8 + 400 * TOKEN_S / (BUDGET_S - STEP_S) * 2.5


def test_beside_streams_images_take_little_longer_than_alone() -> None:
    toy = Timed()
    stream = toy.streaming(4)[0]
    start_s = toy.now_s

    toy.gaps_s(stream, until=toy.add(eight_images(toy), replace(GREEDY, max_tokens=1)))

    assert toy.now_s - start_s < 1.6 * 80 * PIECE_S  # streams take a quarter of each step's time here


def test_an_image_alone_is_encoded_in_one_step_and_its_prompt_computed_at_once() -> None:
    toy = Timed()
    sequence_id = toy.add(prompt_of(1, 2, picture(toy.arena, 1, num_crops=2), 3))

    toy.step()
    assert toy.now_s == pytest.approx(4 * PIECE_S)
    toy.step()

    assert len(toy.tokens[sequence_id]) == 1
    assert toy.now_s == pytest.approx(4 * PIECE_S + STEP_S + 7 * TOKEN_S)


def test_a_newcomer_interrupts_a_run_that_had_the_machine_to_itself() -> None:
    toy = Timed()
    toy.add(prompt_of(picture(toy.arena, 1, num_crops=50), 3))
    newcomers = [prompt_of(5)]

    def receive() -> None:
        while newcomers:
            toy.add(newcomers.pop())

    toy.engine.step(receive=receive, has_news=lambda: bool(newcomers))
    assert toy.now_s == pytest.approx(PIECE_S)
    toy.step()

    assert len(toy.tokens[2]) == 1


def test_a_short_request_does_not_wait_for_the_thirty_images_of_another() -> None:
    toy = Timed(max_num_batched_crops=1)
    stream = toy.streaming(1)[0]
    many = toy.add(prompt_of(*(picture(toy.arena, seed) for seed in range(30)), 1))
    one = toy.add(prompt_of(picture(toy.arena, 30), 1), replace(GREEDY, max_tokens=1))

    toy.gaps_s(stream, until=one)

    assert not toy.tokens[many]
    assert toy.images.num_encoded_crops < 10


def test_a_run_whose_request_is_aborted_is_dropped() -> None:
    toy = Timed(max_num_batched_crops=8)
    toy.streaming(1)
    sequence_id = toy.add(prompt_of(picture(toy.arena, 1, num_crops=8), 3))
    toy.step()
    toy.step()
    assert toy.engine.encoder.is_busy

    toy.engine.abort(sequence_id)
    toy.step()

    assert not toy.engine.encoder.is_busy


@pytest.mark.parametrize("aborted_in_step", [0, 1])
def test_a_run_goes_on_for_another_request_unless_its_pixels_may_have_changed_as_they_were_read(
    aborted_in_step: int,
) -> None:
    toy = Timed(max_num_batched_crops=8)
    toy.streaming(1)
    image = picture(toy.arena, 1, num_crops=8)
    aborted, asked = toy.add(prompt_of(image, 3)), toy.add(prompt_of(image, 4))
    if aborted_in_step == 1:
        toy.step()

    toy.engine.step(receive=lambda: toy.engine.abort(aborted))
    toy.finish()

    assert toy.token_ids(asked) == expected_tokens(prompt_of(image, 4), 8, toy.arena)
    assert len(toy.images.crops_of_runs) == (1 if aborted_in_step == 1 else 2)


def test_pixels_may_be_overwritten_once_a_run_has_begun() -> None:
    toy = Timed(max_num_batched_crops=8)
    toy.streaming(1)
    image = picture(toy.arena, 1, num_crops=8)
    prompt = prompt_of(image, 3)
    expected = expected_tokens(prompt, 8, toy.arena)
    asked = toy.add(prompt)
    toy.step()
    assert toy.engine.encoder.is_busy

    toy.arena.view(image.pixels)[:] = 0
    toy.finish()

    assert toy.token_ids(asked) == expected


def test_of_images_encoded_together_only_the_one_that_fails_fails() -> None:
    toy = Timed(max_num_batched_crops=8)
    images = [picture(toy.arena, 1), picture(toy.arena, 2, value=FAILING), picture(toy.arena, 3)]
    good, bad, also_good = [toy.add(prompt_of(image, 3)) for image in images]

    toy.finish()

    assert toy.ends == {good: ["length"], bad: [IMAGE_FAILED], also_good: ["length"]}


def test_the_server_knows_for_whom_something_is_computed() -> None:
    toy = Timed(max_num_batched_crops=1)
    [stream] = toy.streaming(1)
    asked = [toy.add(prompt_of(picture(toy.arena, seed), seed)) for seed in (1, 2)]
    started: list[tuple[int, ...]] = []

    toy.engine.step(on_start=started.append)

    assert started == [(asked[0],), (asked[1],), (stream,)]

"""engine/scheduler.py: what each step computes. Plain arithmetic: no tensors, no model."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from foveal.engine.encoder_cache import EncoderCache
from foveal.engine.kv_cache import BlockPool
from foveal.engine.rounds import Rounds
from foveal.engine.scheduler import Limits, Scheduler, StepPlan
from foveal.engine.sequence import Sequence
from foveal.layers.step import Positions
from foveal.types import Image, ImageLayout, ImageSpan, PixelRef, Prompt, PromptImage, SamplingParams, Size

if TYPE_CHECKING:
    from torch import Tensor

LIMITS = Limits(max_num_seqs=8, max_num_batched_tokens=20, block_size=4)
MAX_NUM_CROPS = 4


@dataclass
class Features:
    """Stands for a tensor: the cache asks nothing else of it."""

    nbytes: int
    num_crops: int

    def __len__(self) -> int:
        return self.num_crops


@dataclass(frozen=True)
class Picture:
    """An image in a prompt: where its span is, and how many crops it takes."""

    offset: int
    length: int
    num_crops: int = 1
    name: str = "a"


class Steps:
    """A scheduler whose plans are carried out by counting: every sequence that has caught up gets token 1.

    The encoder makes one run in each step, while the step's tokens are computed.
    """

    def __init__(
        self,
        num_blocks: int = 100,
        encoder_cache_bytes: int = 1000,
        max_num_crops: int = MAX_NUM_CROPS,
        splits_images: bool = True,
        **limits: int | bool,
    ) -> None:
        self.pool = BlockPool(num_blocks)
        self.encoder_cache = EncoderCache(encoder_cache_bytes)
        self.rounds = Rounds(max_num_crops, splits_images)
        self.scheduler = Scheduler(replace(LIMITS, **limits), self.pool, self.encoder_cache)  # type: ignore[arg-type]  # numbers and flags
        self.num_requests = 0

    def add(
        self,
        num_tokens: int,
        *pictures: Picture,
        max_tokens: int = 100,
        first_token: int = 0,
        max_cached_tokens: int | None = None,
        share: str = "",
    ) -> Sequence:
        """A sequence of the tokens 0, 1, 2, ... (so that prompts share prefixes) with these pictures."""
        self.num_requests += 1
        images = tuple(
            PromptImage(
                Image(
                    picture.name.encode(), PixelRef(0, (1,)), ImageLayout(Size(1, 1), (1,), (), picture.num_crops, 1)
                ),
                (ImageSpan(picture.offset, picture.length),),
            )
            for picture in pictures
        )
        token_ids = tuple(range(first_token, first_token + num_tokens))
        prompt = Prompt(token_ids, images, max_cached_tokens=max_cached_tokens, share=share)
        positions = Positions(np.zeros((1, num_tokens), np.int64))
        sequence = Sequence(
            self.num_requests,
            prompt,
            SamplingParams(max_tokens=max_tokens),
            positions,
            num_tokens + max_tokens,
            list(prompt.token_ids),
        )
        self.scheduler.add(sequence)
        return sequence

    def step(self, max_prompt_tokens: int | None = None) -> StepPlan:
        plan = self.scheduler.schedule(max_prompt_tokens)
        for share in self.rounds.next_run(plan.wanted.values(), self.encoder_cache):
            num_crops = share.stop - share.start
            if share.is_last:
                self.encoder_cache.put(share.wanted.key, cast("Tensor", Features(10, 0)), num_crops)
            else:
                self.encoder_cache.add_crops(share.wanted.key, cast("Tensor", Features(1, num_crops)))
        self.scheduler.update(plan)
        for chunk in plan.chunks.values():
            if chunk.is_last and chunk.sequence.append(1):
                self.scheduler.finish(chunk.sequence)
        self.scheduler.check_integrity()
        return plan

    def work(self, num_steps: int) -> list[tuple[dict[int, int], int]]:
        """Each step's work: (tokens by request, crops)."""
        found = []
        for _ in range(num_steps):
            num_before = self.encoder_cache.num_encoded_crops
            tokens = tokens_of(self.step())
            found.append((tokens, self.encoder_cache.num_encoded_crops - num_before))
        return found


def tokens_of(plan: StepPlan) -> dict[int, int]:
    return {sequence_id: chunk.stop - chunk.start for sequence_id, chunk in plan.chunks.items()}


@pytest.mark.parametrize(
    ("num_tokens", "expected"),
    [
        pytest.param([5], [{1: 5}, {1: 1}, {1: 1}], id="a prompt, then a token at a time"),
        pytest.param([45], [{1: 20}, {1: 20}, {1: 5}, {1: 1}], id="a long prompt is cut"),
        pytest.param([5, 7], [{1: 5, 2: 7}, {1: 1, 2: 1}], id="two together"),
        pytest.param([15, 15], [{1: 15, 2: 5}, {1: 1, 2: 10}, {1: 1, 2: 1}], id="the second gets what is left"),
        pytest.param([30, 3], [{1: 20}, {1: 10, 2: 3}], id="in order of arrival"),
    ],
)
def test_tokens_are_handed_out_up_to_the_budget(num_tokens: list[int], expected: list[dict[int, int]]) -> None:
    steps = Steps()
    for i, number in enumerate(num_tokens):
        steps.add(number, first_token=100 * i)

    assert [tokens for tokens, _ in steps.work(len(expected))] == expected


def test_those_that_decode_come_before_those_that_catch_up() -> None:
    steps = Steps()
    steps.add(60, Picture(1, 2))
    steps.add(3, first_token=100)

    assert steps.work(3) == [({2: 3}, 1), ({2: 1, 1: 19}, 0), ({2: 1, 1: 19}, 0)]


@pytest.mark.parametrize(
    ("max_prompt_tokens", "expected"),
    [(7, [{1: 1, 2: 7}, {1: 1, 2: 7}]), (100, [{1: 1, 2: 19}] * 2), (None, [{1: 1, 2: 19}] * 2)],
)
def test_prompts_get_no_more_tokens_than_the_pace_allows(
    max_prompt_tokens: int | None, expected: list[dict[int, int]]
) -> None:
    steps = Steps()
    steps.add(3)
    steps.step()
    steps.add(50, first_token=100)

    assert [tokens_of(steps.step(max_prompt_tokens)) for _ in expected] == expected


@pytest.mark.parametrize(
    ("limits", "pictures", "expected"),
    [
        pytest.param({}, [Picture(2, 3, 3)], [({}, 3), ({1: 10}, 0), ({1: 1}, 0)], id="the prompt waits and is whole"),
        pytest.param({}, [Picture(2, 3, 9)], [({}, 4), ({}, 4), ({}, 1), ({1: 10}, 0)], id="spread over steps"),
        pytest.param(
            {"max_num_batched_tokens": 4},
            [Picture(5, 3, 9)],
            [({1: 4}, 4), ({}, 4), ({}, 1), ({1: 4}, 0)],
            id="a chunk before the image goes ahead",
        ),
        pytest.param(
            {},
            [Picture(1, 2, 3, "a"), Picture(5, 2, 3, "b")],
            [({}, 4), ({}, 2), ({1: 10}, 0)],
            id="the next image is begun with what is left",
        ),
        pytest.param(
            {}, [Picture(1, 2, 3, "a"), Picture(5, 2, 3, "a")], [({}, 3), ({1: 10}, 0)], id="the same image twice"
        ),
        pytest.param(
            {"splits_images": False}, [Picture(2, 3, 9)], [({}, 9), ({1: 10}, 0)], id="an unsplit image goes alone"
        ),
        pytest.param(
            {"splits_images": False},
            [Picture(1, 2, 3, "a"), Picture(5, 2, 3, "b")],
            [({}, 3), ({}, 3), ({1: 10}, 0)],
            id="unsplit images wait for room",
        ),
        pytest.param(
            {"max_num_batched_tokens": 4, "whole_spans": True},
            [Picture(2, 3)],
            [({}, 1), ({1: 2}, 0), ({1: 4}, 0), ({1: 4}, 0)],
            id="a span is not cut",
        ),
        pytest.param(
            {"max_num_batched_tokens": 4, "whole_spans": True},
            [Picture(2, 7)],
            [({}, 1), ({1: 2}, 0), ({1: 7}, 0), ({1: 1}, 0)],
            id="a span larger than the budget overdraws it",
        ),
        pytest.param(
            {"encoder_cache_bytes": 10, "max_num_batched_tokens": 8, "rereads_images": True},
            [Picture(1, 2, 3, "a"), Picture(5, 2, 3, "b")],
            [({}, 4), ({1: 5}, 2), ({1: 5}, 0)],
            id="a full cache lets the prompt go up to the image that has no room",
        ),
    ],
)
def test_images_are_encoded_ahead_of_the_tokens_that_need_them(
    limits: dict[str, Any], pictures: list[Picture], expected: list[tuple[dict[int, int], int]]
) -> None:
    steps = Steps(**limits)
    steps.add(10, *pictures)

    assert steps.work(len(expected)) == expected


def test_two_sequences_share_the_encoding_of_one_image() -> None:
    steps = Steps()
    steps.add(8, Picture(2, 3, 6))
    steps.add(8, Picture(5, 3, 6), first_token=50)

    assert steps.work(4) == [({}, 4), ({}, 2), ({1: 8, 2: 8}, 0), ({1: 1, 2: 1}, 0)]
    assert steps.scheduler.stats.num_encoded_crops == 6


def test_features_are_unpinned_when_the_sequence_is_past_them() -> None:
    steps = Steps(encoder_cache_bytes=0, max_num_batched_tokens=5)
    sequence = steps.add(10, Picture(2, 3))
    key = sequence.image_key(0)

    steps.step()
    assert steps.encoder_cache.features(key) is not None
    steps.step()

    assert steps.encoder_cache.pinned_by(key) == frozenset()
    assert steps.encoder_cache.features(key) is None


def test_features_that_are_read_again_are_kept_while_the_sequence_runs() -> None:
    steps = Steps(encoder_cache_bytes=0, rereads_images=True)
    sequence = steps.add(10, Picture(2, 3), max_tokens=3)
    key = sequence.image_key(0)

    held = []
    while steps.scheduler.sequences:
        steps.step()
        held.append(steps.encoder_cache.features(key) is not None)

    assert held == [True, True, True, False]


def test_a_full_encoder_cache_lets_only_the_first_comer_begin() -> None:
    steps = Steps(encoder_cache_bytes=10, rereads_images=True)
    steps.add(10, Picture(2, 3, name="a"), max_tokens=2)
    steps.work(2)
    steps.add(10, Picture(2, 3, name="b"), first_token=50)

    assert steps.work(3) == [({1: 1, 2: 2}, 0), ({}, 1), ({2: 8}, 0)]


def test_a_cached_prefix_is_not_computed_again_and_its_image_not_encoded() -> None:
    steps = Steps(encoder_cache_bytes=0)
    steps.add(11, Picture(2, 3), max_tokens=1)
    steps.work(2)

    again = steps.add(11, Picture(2, 3), max_tokens=1)

    assert steps.work(1) == [({2: 3}, 0)]
    assert again.num_cached_tokens == 8


@pytest.mark.parametrize(
    ("num_tokens", "num_cached"),
    [pytest.param(8, 4, id="the last token is always computed"), pytest.param(9, 8, id="full blocks")],
)
def test_how_much_of_a_known_prompt_comes_from_the_prefix_cache(num_tokens: int, num_cached: int) -> None:
    steps = Steps()
    steps.add(12, max_tokens=1)
    steps.step()

    sequence = steps.add(num_tokens)
    steps.step()

    assert sequence.num_cached_tokens == num_cached


@pytest.mark.parametrize(("allowed", "num_cached"), [(0, 0), (3, 0), (4, 4), (7, 4), (8, 8), (100, 8), (None, 8)])
def test_no_more_of_a_known_prompt_comes_from_the_prefix_cache_than_it_allows(
    allowed: int | None, num_cached: int
) -> None:
    steps = Steps()
    steps.add(12, max_tokens=1)
    steps.step()

    sequence = steps.add(12, max_cached_tokens=allowed)
    steps.step()

    assert sequence.num_cached_tokens == num_cached


def test_a_prefix_that_would_cut_a_whole_span_ends_before_it() -> None:
    steps = Steps(whole_spans=True)
    steps.add(12, Picture(6, 4), max_tokens=1)
    steps.work(2)

    again = steps.add(12, Picture(6, 4), max_tokens=1)
    plan = steps.step()

    assert again.num_cached_tokens == 4
    assert tokens_of(plan) == {2: 8}


def test_output_is_found_again_by_the_next_turn() -> None:
    steps = Steps()
    first = steps.add(6, max_tokens=7)
    steps.work(7)
    prompt = tuple(first.token_ids)

    following = replace(first.prompt, token_ids=(*prompt, 5, 5))
    sequence = Sequence(9, following, SamplingParams(), first.positions, 100, list(following.token_ids))
    steps.scheduler.add(sequence)
    steps.step()

    assert sequence.num_cached_tokens == 12  # of 13 computed or drawn, in full blocks


def test_the_newest_sequence_is_preempted_and_goes_to_the_head_of_the_queue() -> None:
    steps = Steps(num_blocks=6, max_num_seqs=3)
    first, second = steps.add(8), steps.add(8, first_token=50)
    waiting = steps.add(8, first_token=70)
    steps.work(6)

    assert first.status == "running"
    assert list(steps.scheduler.waiting) == [second, waiting]
    assert second.num_computed_tokens == 0
    assert second.num_output_tokens > 0
    stats = steps.scheduler.stats
    assert (stats.num_running, stats.num_waiting, stats.num_preemptions) == (1, 2, 1)
    assert stats.num_used_blocks == len(first.block_table)
    assert stats.num_used_blocks + stats.num_idle_blocks <= 6


def test_a_preempted_sequence_catches_up_with_all_its_tokens_before_it_draws() -> None:
    steps = Steps(num_blocks=6)
    steps.add(8, max_tokens=10)
    second = steps.add(8, first_token=50, max_tokens=10)
    steps.work(6)
    num_output_tokens = second.num_output_tokens
    assert second.status == "waiting"

    while second.status == "waiting":
        steps.step()

    assert second.num_output_tokens == num_output_tokens + 1
    assert second.num_cached_tokens == 0  # the one that its client was told


@pytest.mark.parametrize(
    ("num_tokens", "num_steps"),
    [pytest.param(30, 1, id="its prompt does not fit"), pytest.param(15, 12, id="it outgrows the pool")],
)
def test_a_sequence_that_cannot_fit_alone_is_dropped(num_tokens: int, num_steps: int) -> None:
    steps = Steps(num_blocks=6, max_num_batched_tokens=100)
    sequence = steps.add(num_tokens)
    behind = steps.add(3, first_token=50, max_tokens=1)

    plans = [steps.step() for _ in range(num_steps)]

    assert [given_up for plan in plans for given_up in plan.too_large] == [sequence]
    assert behind.status == "done"


def test_no_more_run_than_may() -> None:
    steps = Steps(max_num_seqs=2)
    for i in range(4):
        steps.add(2, first_token=10 * i, max_tokens=2)

    assert [sorted(tokens) for tokens, _ in steps.work(4)] == [[1, 2], [1, 2], [3, 4], [3, 4]]


# --- callers ----------------------------------------------------------------------------------------------------------


def test_a_caller_who_has_all_places_makes_room_for_another() -> None:
    """The bystander has its first token in the step after it came, whatever the other has running and waiting."""
    steps = Steps(max_num_seqs=3)
    attacks = [steps.add(4, first_token=10 * i, share="attacker", max_tokens=20) for i in range(9)]
    steps.step()
    bystander = steps.add(4, first_token=200, share="bystander", max_tokens=3)

    assert [sorted(tokens) for tokens, _ in steps.work(4)] == [[1, 2, 10], [1, 2, 10], [1, 2, 10], [1, 2, 3]]
    assert bystander.status == "done"
    assert attacks[2].num_output_tokens == 2  # it goes on where it was


def test_a_caller_who_has_all_blocks_makes_room_for_another() -> None:
    steps = Steps(num_blocks=12)
    attacks = [steps.add(8, first_token=10 * i, share="attacker") for i in range(4)]
    steps.work(2)
    bystander = steps.add(8, first_token=200, share="bystander", max_tokens=2)
    steps.step()

    assert bystander.num_output_tokens == 1
    assert [attack.status for attack in attacks] == ["running", "running", "waiting", "waiting"]


def test_a_sequence_of_whom_none_else_runs_is_never_taken_out_for_another_caller() -> None:
    steps = Steps(max_num_seqs=2)
    for share in "abc":
        steps.add(4, share=share, max_tokens=3)

    assert [sorted(tokens) for tokens, _ in steps.work(4)] == [[1, 2], [1, 2], [1, 2], [3]]


def test_callers_take_turns_at_the_tokens_for_prompts() -> None:
    """The bystander waits for one prompt of the other, not for five."""
    steps = Steps()
    for i in range(5):
        steps.add(18, first_token=20 * i, share="attacker")
    steps.step()
    steps.add(10, first_token=200, share="bystander")

    assert [tokens for tokens, _ in steps.work(2)] == [{1: 1, 2: 16, 6: 3}, {1: 1, 2: 1, 6: 7, 3: 11}]


def test_who_has_fewer_running_starts_next() -> None:
    steps = Steps(max_num_seqs=4)
    for i in range(6):
        steps.add(2, first_token=10 * i, share="attacker", max_tokens=3)
    for i in range(3):
        steps.add(2, first_token=100 + 10 * i, share="bystander", max_tokens=9)

    assert [sorted(tokens) for tokens, _ in steps.work(1)] == [[1, 2, 7, 8]]


@pytest.mark.parametrize("seed", range(12))
def test_random_requests_keep_the_caches_consistent_and_all_end(seed: int) -> None:
    choose = random.Random(seed)
    steps = Steps(
        num_blocks=choose.choice([12, 30, 100]),
        encoder_cache_bytes=choose.choice([0, 25, 1000]),
        max_num_seqs=choose.choice([1, 3, 8]),
        max_num_batched_tokens=choose.choice([1, 7, 64]),
        splits_images=choose.random() < 0.5,
        whole_spans=choose.random() < 0.3,
        rereads_images=choose.random() < 0.3,
    )
    for _ in range(200):
        if choose.random() < 0.4:
            pictures = [
                Picture(2, 5, choose.randint(1, 9), choose.choice("abc")),
                Picture(9, 1, 2, choose.choice("abc")),
            ]
            steps.add(
                choose.randint(10, 30),
                *pictures[: choose.randint(0, 2)],
                max_tokens=choose.randint(1, 12),
                share=choose.choice("abc"),
            )
        if steps.scheduler.sequences and choose.random() < 0.1:
            steps.scheduler.finish(choose.choice(list(steps.scheduler.sequences.values())))
        steps.step()
    for _ in range(5000):
        if steps.scheduler.sequences:
            steps.step()

    assert not steps.scheduler.sequences
    assert steps.pool.num_available == steps.pool.num_blocks
    assert not steps.encoder_cache.is_full or steps.encoder_cache.max_bytes == 0

"""scaleout/affinity.py: which replica a request is best sent to."""

from __future__ import annotations

import pytest

from foveal.engine.protocol import Submit
from foveal.scaleout.affinity import CHUNK, CROP_TOKENS, MAX_ANSWER_TOKENS, Affinities, Demand, demand_of
from foveal.types import Image, ImageLayout, ImageSpan, PixelRef, Prompt, PromptImage, SamplingParams, Size

ROOMY = 1 << 20
SAMPLING = SamplingParams(max_tokens=10)


def image(name: bytes, offset: int, num_tokens: int = 64, num_crops: int = 3) -> PromptImage:
    layout = ImageLayout(Size(8, 8), (8, 8, 3), (1, 1), num_crops, num_tokens)
    return PromptImage(Image(name, PixelRef(0, (8, 8, 3)), layout), (ImageSpan(offset, num_tokens),), num_tokens)


def demand(num_tokens: int, *images: PromptImage, first: int = 0, salt: bytes = b"") -> Demand:
    """Of a prompt of different tokens from `first` on."""
    return demand_of(Submit(1, Prompt(tuple(range(first, first + num_tokens)), images, salt), SAMPLING))


def among(**cache_tokens: int) -> Affinities:
    affinities = Affinities()
    affinities.there_are(cache_tokens)
    return affinities


def served(affinities: Affinities, name: str, *demands: Demand) -> None:
    for each in demands:
        affinities.sent("earlier", name, each)
        affinities.ended("earlier")


def test_the_next_turn_goes_where_the_conversation_is() -> None:
    affinities = among(a=ROOMY, b=ROOMY)
    served(affinities, "b", demand(4 * CHUNK))
    served(affinities, "a", demand(8 * CHUNK, first=5000))

    assert affinities.ranked(demand(5 * CHUNK))[0] == "b"


def test_an_image_goes_where_it_was_encoded_though_other_words_come_before_it() -> None:
    affinities = among(a=ROOMY, b=ROOMY)
    served(affinities, "b", demand(2 * CHUNK, image(b"cat", 20)))
    served(affinities, "a", demand(2 * CHUNK, image(b"dog", 20)))

    assert affinities.ranked(demand(2 * CHUNK, image(b"cat", 30), first=5000))[0] == "b"


@pytest.mark.parametrize(
    "other",
    [
        demand(4 * CHUNK, image(b"dog", CHUNK)),
        demand(4 * CHUNK, image(b"cat", CHUNK), salt=b"another account"),
        demand(4 * CHUNK, image(b"cat", CHUNK), first=1),
    ],
)
def test_prefixes_are_the_same_only_with_the_same_tokens_images_and_salt(other: Demand) -> None:
    known = demand(4 * CHUNK, image(b"cat", CHUNK))

    assert known.prefix == demand(4 * CHUNK, image(b"cat", CHUNK)).prefix
    assert known.prefix[-1] != other.prefix[-1]


def test_a_prompt_that_may_not_come_from_the_cache_has_no_prefix() -> None:
    prompt = Prompt(tuple(range(4 * CHUNK)), max_cached_tokens=0)

    assert demand_of(Submit(1, prompt, SAMPLING)).prefix == ()


def test_work_is_tokens_crops_and_an_answer() -> None:
    prompt = Prompt(tuple(range(300)), (image(b"cat", 0, num_crops=3),))
    long = SamplingParams(max_tokens=10**6)

    assert demand_of(Submit(1, prompt, SAMPLING)).work == 310 + 3 * CROP_TOKENS
    assert demand_of(Submit(1, prompt, long)).work == 300 + MAX_ANSWER_TOKENS + 3 * CROP_TOKENS
    assert demand_of(Submit(1, prompt, SAMPLING, (1, 2, 3))).work == 310 + 3 * CROP_TOKENS  # 3 are of its 10


def test_the_one_with_the_least_to_do_is_first_and_crops_count() -> None:
    affinities = among(a=ROOMY, b=ROOMY)
    affinities.sent("large picture", "a", demand(2 * CHUNK, image(b"map", 0, num_crops=16)))
    affinities.sent("long text", "b", demand(4 * CHUNK, first=5000))

    assert affinities.ranked(demand(CHUNK, first=9000)) == ["b", "a"]


def test_a_cached_prefix_is_left_for_an_idle_replica_when_waiting_would_cost_more() -> None:
    affinities = among(a=ROOMY, b=ROOMY)
    served(affinities, "a", demand(4 * CHUNK))
    affinities.sent("a little", "a", demand(3 * CHUNK, first=5000))
    assert affinities.ranked(demand(4 * CHUNK))[0] == "a"

    affinities.sent("much", "a", demand(3 * CHUNK, first=9000))

    assert affinities.ranked(demand(4 * CHUNK))[0] == "b"


def test_requests_that_come_at_once_are_spread() -> None:
    affinities = among(a=ROOMY, b=ROOMY, c=ROOMY)
    chosen = []
    for number in range(6):
        asked = demand(2 * CHUNK, first=1000 * number)
        chosen.append(affinities.ranked(asked)[0])
        affinities.sent(str(number), chosen[-1], asked)

    assert sorted(chosen) == ["a", "a", "b", "b", "c", "c"]


def test_work_is_outstanding_from_when_it_is_sent_until_it_ends() -> None:
    affinities, asked = among(a=ROOMY, b=ROOMY), demand(2 * CHUNK)
    affinities.sent("1", "a", asked)
    affinities.sent("1", "a", asked)
    assert affinities.num_outstanding == {"a": asked.work, "b": 0}

    affinities.sent("1", "b", asked)
    assert affinities.num_outstanding == {"a": 0, "b": asked.work}

    affinities.ended("1")
    affinities.ended("1")
    assert affinities.num_outstanding == {"a": 0, "b": 0}


def test_a_replica_that_is_gone_is_forgotten_with_what_it_had() -> None:
    affinities = among(a=ROOMY, b=ROOMY)
    affinities.sent("1", "a", demand(4 * CHUNK))

    affinities.there_are({"b": ROOMY})
    affinities.ended("1")
    affinities.there_are({"a": ROOMY, "b": ROOMY})

    assert affinities.num_outstanding == {"a": 0, "b": 0}
    served(affinities, "b", demand(4 * CHUNK))
    assert affinities.ranked(demand(4 * CHUNK))[0] == "b"


def test_no_more_is_remembered_than_a_cache_holds_and_prefixes_are_forgotten_from_their_end() -> None:
    affinities = among(a=6 * CHUNK, b=6 * CHUNK)
    served(affinities, "a", demand(4 * CHUNK), demand(4 * CHUNK, first=5000))
    idle = demand(4 * CHUNK).work

    def work_at_a(asked: Demand) -> int:
        affinities.sent("asked", "a", asked)
        work = affinities.num_outstanding["a"]
        affinities.ended("asked")
        return work

    assert work_at_a(demand(4 * CHUNK)) == idle - 2 * CHUNK


def test_tokens_of_an_answer_are_no_part_of_a_prefix() -> None:
    prompt = Prompt(tuple(range(CHUNK)))

    assert demand_of(Submit(1, prompt, SAMPLING, (5, 6))).prefix == demand_of(Submit(1, prompt, SAMPLING)).prefix

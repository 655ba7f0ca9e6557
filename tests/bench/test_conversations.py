"""The conversations of a workload: repeatable, never equal by accident, and drawn before the run."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterable, Iterator
from itertools import count, islice

import pytest
from PIL import Image

from foveal.bench import conversations
from foveal.bench.records import Conversation, Workload
from foveal.bench.stock import Stock, ahead, drawn_ahead
from foveal.errors import ConfigError
from foveal.types import Size
from tests.bench.builders import FakeClock

SMALL = Workload(num_requests=6, num_images=2, smallest=Size(32, 24), largest=Size(32, 24), seed=7)


def opened(data_url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data_url.partition(",")[2])))


def drawn(**changes: object) -> list[Conversation]:
    settings = {name: getattr(SMALL, name) for name in SMALL.__slots__} | changes
    return list(islice(conversations.measured(Workload(**settings)), 200))


def test_a_seed_determines_the_conversations() -> None:
    assert drawn() == drawn()
    assert drawn()[0].images != drawn(seed=8)[0].images


def test_no_two_pictures_and_no_two_questions_are_alike() -> None:
    several = [*drawn(num_requests=30), *conversations.warmup(SMALL)]
    images = [opened(url).convert("RGB").tobytes() for each in several for url in each.images]
    questions = [question for each in several for question in each.questions]
    assert len(set(images)) == len(images) == 64
    assert len(set(questions)) == len(questions)


@pytest.mark.parametrize(("image_format", "kind"), [("jpeg", "JPEG"), ("png", "PNG")])
def test_pictures_have_the_format_and_a_size_of_the_range(image_format: str, kind: str) -> None:
    several = drawn(num_requests=20, image_format=image_format, largest=Size(64, 30))
    pictures = [opened(url) for each in several for url in each.images]
    assert {picture.format for picture in pictures} == {kind}
    assert all(32 <= picture.width <= 64 and 24 <= picture.height <= 30 for picture in pictures)
    assert len({picture.size for picture in pictures}) > 10


def test_a_picture_of_512_takes_about_what_a_photograph_does() -> None:
    (conversation,) = drawn(num_requests=1, num_images=1, smallest=Size(512, 512), largest=Size(512, 512))
    assert 20_000 < len(conversation.images[0]) * 3 / 4 < 80_000


def test_requests_are_counted_with_their_turns() -> None:
    assert [len(each.questions) for each in drawn(num_requests=7, num_turns=3)] == [3, 3, 1]
    assert Workload(num_requests=7, num_turns=3).num_conversations == 3
    assert len(drawn(num_requests=None, duration_s=1.0)) == 200  # without end


@pytest.mark.parametrize("num_words", [20, 200])
def test_a_question_has_the_words_that_were_wanted(num_words: int) -> None:
    (conversation,) = drawn(num_requests=1, num_prompt_words=num_words)
    assert len(conversation.questions[0].split()) == num_words


def test_shared_conversations_begin_like_one_of_the_pool_and_end_on_their_own() -> None:
    workload = Workload(num_images=1, smallest=Size(16, 16), largest=Size(16, 16), shared_share=0.5, pool_size=3)
    several = drawn(**{name: getattr(workload, name) for name in workload.__slots__} | {"num_requests": 200})
    pool = [each.images for each in conversations.warmup(workload)][workload.num_warmup :]
    shared = [each for each in several if each.is_shared]
    assert 70 < len(shared) < 130
    assert {each.images for each in shared} == set(pool)
    assert len({each.questions for each in shared}) == len(shared)
    beginnings = {each.questions[0].split()[:20].__str__() for each in shared}
    assert len(beginnings) == 3
    alone = [each.images for each in several if not each.is_shared]
    assert len(set(alone)) == len(alone)
    assert not set(alone) & set(pool)


@pytest.mark.parametrize(
    ("workload", "words"),
    [
        (Workload(num_requests=None), "--duration"),
        (Workload(smallest=Size(4, 4)), "8 pixels"),
        (Workload(smallest=Size(64, 64), largest=Size(32, 128)), "smallest size first"),
    ],
    ids=["no end", "too small", "turned round"],
)
def test_a_workload_that_cannot_be_run_is_refused(workload: Workload, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        conversations.check(workload)


def without_pictures(numbers: Iterable[int]) -> Iterator[Conversation]:
    return (Conversation(number, (), ("What?",)) for number in numbers)


async def take(stock: Stock, most: int) -> list[int | None]:
    taken = [await stock.take() for _ in range(most)]
    return [None if each is None else each.number for each in taken]


def test_a_stock_is_drawn_before_it_is_used_and_ends() -> None:
    async def taken() -> tuple[int, list[int | None]]:
        drawn: list[str] = []
        plan = without_pictures(range(5))
        async with drawn_ahead(plan, 5, FakeClock(), lambda: drawn.append("one")) as stock:
            return len(drawn), await take(stock, 7)

    assert asyncio.run(taken()) == (5, [0, 1, 2, 3, 4, None, None])


def test_a_stock_without_end_is_drawn_as_far_ahead_as_wanted() -> None:
    async def taken() -> list[int | None]:
        async with drawn_ahead(without_pictures(count()), 3, FakeClock(), lambda: None) as stock:
            return await take(stock, 10)

    assert asyncio.run(taken()) == list(range(10))


def test_what_is_drawn_ahead_is_bounded() -> None:
    large = Workload(num_requests=100_000, smallest=Size(1000, 1000), largest=Size(1000, 1000))
    assert ahead(large) == 250
    assert ahead(Workload(num_requests=10)) == 10
    assert ahead(Workload(num_requests=None, duration_s=5.0)) == 64

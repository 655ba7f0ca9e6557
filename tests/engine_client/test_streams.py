"""engine_client/streams.py: from `submit` to one terminal event, on the server's side."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from foveal.engine.protocol import Abort, Encoding, StepDone, Submit, ToEngine
from foveal.engine_client.streams import Streams
from foveal.errors import GenerationFailed, InvalidRequest, Overloaded, PromptTooLong, RequestError, TooManyRequests
from foveal.telemetry import Stage, collecting_stages
from foveal.types import (
    EngineInfo,
    Image,
    ImageLayout,
    ImageSpan,
    PixelRef,
    Prompt,
    PromptImage,
    SamplingParams,
    Size,
    Token,
)

pytestmark = pytest.mark.anyio

INFO = EngineInfo(
    "toy", "cpu", "float32", vocab_size=64, max_model_len=10, block_size=4, num_blocks=9, kv_cache_bytes=9
)
PROMPT, SAMPLING = Prompt((1, 2, 3)), SamplingParams()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Told:
    """Streams to an engine that only listens."""

    def __init__(self, max_num_in_flight: int = 2) -> None:
        self.messages: list[ToEngine] = []
        self.streams = Streams(INFO, max_num_in_flight, self.messages.append)


async def test_tokens_come_as_they_are_delivered_up_to_the_last() -> None:
    told = Told()
    async with told.streams.open(PROMPT, SAMPLING) as tokens:
        told.streams.deliver(StepDone(tokens=((1, Token(5)),)))
        told.streams.deliver(StepDone(tokens=((1, Token(6, "stop")),)))

        received = [token.token_id async for token in tokens]

    assert received == [5, 6]
    assert told.messages == [Submit(1, PROMPT, SAMPLING)]
    assert told.streams.in_flight == {}


async def test_a_resumed_request_gives_only_the_tokens_that_are_new() -> None:
    told = Told()
    async with told.streams.resume(Submit(41, PROMPT, SAMPLING, (5, 6), 2, 0.5)) as tokens:
        assert tokens.num_unread == 0
        told.streams.deliver(StepDone(tokens=((1, Token(7, "stop")),)))

        received = [token.token_id async for token in tokens]

    assert received == [7]
    assert told.messages == [Submit(1, PROMPT, SAMPLING, (5, 6), 2, 0.5)]


async def test_a_request_is_submitted_again_with_all_that_its_next_token_depends_on() -> None:
    told = Told()
    async with told.streams.open(PROMPT, SAMPLING):
        told.streams.deliver(StepDone(tokens=((1, Token(5, num_cached_tokens=2, mirostat_mu=3.5)),)))

        assert told.streams.in_flight[1].submission() == Submit(1, PROMPT, SAMPLING, (5,), 2, 3.5)


async def stages_of_one(*messages: tuple[int, ...] | StepDone) -> dict[str, Stage]:
    """The stages of a request: ids are of a step that begins."""
    told = Told()
    with collecting_stages() as stages:
        async with told.streams.open(PROMPT, SAMPLING):
            for message in messages:
                if isinstance(message, StepDone):
                    told.streams.deliver(message)
                else:
                    told.streams.started(message)
    return {each.name: each for each in stages}


async def test_a_request_is_queued_then_encoded_then_computed_then_decoded() -> None:
    soon_s = time.monotonic() + 1.0
    first, last = Token(5, num_cached_tokens=2), Token(6, "stop", num_cached_tokens=2)
    stages = await stages_of_one(
        (1,),
        StepDone(encoded=(Encoding(1, soon_s, soon_s + 1.0),)),
        StepDone(encoded=(Encoding(1, soon_s + 2.0, soon_s + 3.0), Encoding(2, soon_s + 4.0, soon_s + 5.0))),
        StepDone(tokens=((1, first),)),
        StepDone(tokens=((1, last),)),
    )
    assert [*stages] == ["queue", "encode", "prefill", "decode"]
    assert stages["queue"].started_s <= stages["queue"].ended_s < soon_s
    assert (stages["encode"].started_s, stages["encode"].ended_s) == (soon_s, soon_s + 3.0)
    assert stages["prefill"].started_s == stages["encode"].ended_s
    assert stages["prefill"].ended_s == stages["decode"].started_s
    assert stages["prefill"].facts == {"prompt_tokens": 3, "cached_tokens": 2}
    assert stages["decode"].facts == {"output_tokens": 2}


async def test_what_is_left_early_has_the_stages_that_it_came_to() -> None:
    assert [*await stages_of_one()] == ["queue"]
    assert [*await stages_of_one((1,))] == ["queue", "prefill"]
    assert [*await stages_of_one((1,), StepDone(tokens=((1, Token(5)),)))] == ["queue", "prefill", "decode"]


async def test_the_token_of_an_image_may_lie_beyond_those_that_are_drawn() -> None:
    layout = ImageLayout(Size(1, 1), (1, 1, 3), (1, 1), 1, 1)
    image = PromptImage(Image(bytes(32), PixelRef(0, (1, 1, 3)), layout), (ImageSpan(1, 1),))
    with_image = Prompt((1, 64, 2), (image,))

    async with Told().streams.open(with_image, SAMPLING):
        pass

    with pytest.raises(InvalidRequest, match="from 0 to 63"):
        async with Told().streams.open(replace(with_image, token_ids=(1, 64, 64)), SAMPLING):
            pass


async def test_leaving_early_aborts() -> None:
    told = Told()
    async with told.streams.open(PROMPT, SAMPLING):
        pass

    assert told.messages[1:] == [Abort(1)]
    told.streams.deliver(StepDone(tokens=((1, Token(5)),)))  # it was on its way


async def test_a_cancelled_caller_aborts_at_once() -> None:
    told = Told()

    async def wait_for_ever() -> None:
        async with told.streams.open(PROMPT, SAMPLING) as tokens:
            await anext(tokens)

    task = asyncio.create_task(wait_for_ever())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert told.messages[1:] == [Abort(1)]


async def test_a_failure_ends_the_stream_with_its_reason() -> None:
    told = Told()
    async with told.streams.open(PROMPT, SAMPLING) as tokens:
        told.streams.deliver(StepDone(tokens=((1, Token(5)),), failed=((1, "a reason"),)))

        assert (await anext(tokens)).token_id == 5
        with pytest.raises(GenerationFailed, match="a reason"):
            await anext(tokens)

    assert told.messages[1:] == []


async def test_what_is_resumed_says_how_far_it_was() -> None:
    told = Told()
    async with told.streams.open(PROMPT, SAMPLING):
        told.streams.deliver(StepDone(tokens=((1, Token(5, num_cached_tokens=2)),)))

        assert told.streams.in_flight[1].submission() == Submit(1, PROMPT, SAMPLING, (5,), 2)


async def test_more_than_fits_is_refused_until_one_has_ended() -> None:
    told = Told(max_num_in_flight=1)
    async with told.streams.open(PROMPT, SAMPLING):
        with pytest.raises(Overloaded):
            async with told.streams.open(PROMPT, SAMPLING):
                pass

    async with told.streams.open(PROMPT, SAMPLING):
        assert list(told.streams.in_flight) == [2]


async def test_a_caller_leaves_room_for_others() -> None:
    told = Told(max_num_in_flight=7)

    async def open_all_that_fit(caller: str, stack: AsyncExitStack) -> tuple[int, type[RequestError]]:
        for number in range(9):
            try:
                await stack.enter_async_context(told.streams.open(replace(PROMPT, share=caller), SAMPLING))
            except RequestError as refusal:
                return number, type(refusal)
        raise AssertionError("nothing was refused")

    async with AsyncExitStack() as stack:
        opened = [await open_all_that_fit(caller, stack) for caller in "abcd"]
    async with AsyncExitStack() as stack:
        opened.append(await open_all_that_fit("e", stack))

    mine = TooManyRequests
    assert opened == [(4, mine), (2, mine), (1, mine), (0, Overloaded), (4, mine)]


@pytest.mark.parametrize(
    ("token_ids", "sampling", "error"),
    [
        pytest.param((), {}, InvalidRequest, id="empty"),
        pytest.param((1,) * 10, {}, PromptTooLong, id="too long"),
        pytest.param((1, 64), {}, InvalidRequest, id="token beyond the vocabulary"),
        pytest.param((1, -1), {}, InvalidRequest, id="negative token"),
        pytest.param((1,), {"max_tokens": 0}, InvalidRequest, id="nothing to generate"),
        pytest.param((1,), {"repetition_penalty": 0.0}, InvalidRequest, id="division by zero"),
        pytest.param((1,), {"repetition_penalty": 5e-324}, InvalidRequest, id="division that overflows"),
        pytest.param((1,), {"logit_bias": ((64, 1.0),)}, InvalidRequest, id="bias beyond the vocabulary"),
    ],
)
async def test_what_cannot_be_continued_is_refused(
    token_ids: tuple[int, ...], sampling: dict[str, object], error: type[RequestError]
) -> None:
    told = Told()

    with pytest.raises(error):
        async with told.streams.open(Prompt(token_ids), replace(SAMPLING, **sampling)):  # type: ignore[arg-type]  # a table of fields
            pass

    assert told.messages == []

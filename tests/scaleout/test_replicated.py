"""scaleout/replicated.py: one engine that is many replicas, with fakes of these."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextvars import ContextVar

import numpy as np
import pytest
from numpy.typing import NDArray

from foveal.arena import PixelArena
from foveal.engine.protocol import StepDone, Submit
from foveal.errors import CLOSED, CutOff, GenerationFailed, Overloaded
from foveal.scaleout import replicated
from foveal.scaleout.messages import ReplicaLost
from foveal.scaleout.replicated import LOST_TOO_OFTEN, MAX_LOSSES, NOT_ANSWERED, ReplicatedEngine
from foveal.types import EngineStats, Prompt, SamplingParams, Token
from tests.accounting.builders import until
from tests.engine.toy import picture, prompt_of
from tests.scaleout.closing import closing
from tests.scaleout.fakes import FakeReplicas, Happening

pytestmark = pytest.mark.anyio

SAMPLING = SamplingParams(max_tokens=3)
LOST = ReplicaLost("it ended")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicated, "PAUSE_S", 0.0)


@pytest.fixture
def arena() -> PixelArena:
    return PixelArena.create(1 << 14)


async def engine_of(arena: PixelArena, *scripts: Sequence[Happening]) -> tuple[ReplicatedEngine, FakeReplicas]:
    replicas = FakeReplicas(list(scripts))
    return await ReplicatedEngine.start(replicas, arena, max_num_in_flight=4), replicas


async def tokens_of(engine: ReplicatedEngine, prompt: Prompt) -> list[int]:
    async with closing(engine), engine.submit(prompt, SAMPLING) as stream:
        return [token.token_id async for token in stream]


async def test_a_stream_goes_on_at_another_replica_after_the_tokens_so_far(arena: PixelArena) -> None:
    first: list[Happening] = [Token(7, num_cached_tokens=2), Token(8, num_cached_tokens=2, mirostat_mu=1.5), LOST]
    engine, replicas = await engine_of(arena, first, [Token(9, "stop", num_cached_tokens=2)])

    assert await tokens_of(engine, Prompt((1, 2, 3))) == [7, 8, 9]

    resumed = replicas.asked[1]
    assert (resumed.prompt.token_ids, resumed.sampling) == ((1, 2, 3), SAMPLING)
    assert (resumed.output_token_ids, resumed.num_cached_tokens, resumed.mirostat_mu) == ((7, 8), 2, 1.5)
    assert (engine.num_tokens, engine.num_restarts) == (3, 1)


async def test_each_replica_gets_the_pixels(arena: PixelArena) -> None:
    image = picture(arena, 1)
    engine, replicas = await engine_of(arena, [LOST], [Token(9, "stop")])

    await tokens_of(engine, prompt_of(1, image, 2))

    assert replicas.pixels == [[int(arena.view(image.pixels).sum())]] * 2


async def test_a_request_that_loses_replica_after_replica_fails(arena: PixelArena) -> None:
    engine, replicas = await engine_of(arena, [Token(7), LOST], [LOST])

    with pytest.raises(GenerationFailed, match=LOST_TOO_OFTEN):
        await tokens_of(engine, Prompt((1,)))

    assert len(replicas.asked) == 1 + MAX_LOSSES


async def test_losses_between_which_it_gets_on_are_no_reason_to_give_up(arena: PixelArena) -> None:
    got_on: list[Happening] = [Token(7), LOST]
    engine, _ = await engine_of(arena, *[got_on] * (2 * MAX_LOSSES), [Token(9, "stop")])

    assert await tokens_of(engine, Prompt((1,))) == [7] * (2 * MAX_LOSSES) + [9]


async def test_a_replica_that_ends_without_a_last_token_counts_as_lost(arena: PixelArena) -> None:
    engine, _ = await engine_of(arena, [Token(7)], [Token(9, "stop")])

    assert await tokens_of(engine, Prompt((1,))) == [7, 9]


async def test_what_a_replica_cannot_do_fails_at_once(arena: PixelArena) -> None:
    engine, replicas = await engine_of(arena, [ValueError("a bug")])

    with pytest.raises(GenerationFailed, match=NOT_ANSWERED):
        await tokens_of(engine, Prompt((1,)))

    assert len(replicas.asked) == 1


async def test_leaving_a_stream_aborts_it(arena: PixelArena) -> None:
    engine, replicas = await engine_of(arena, [Token(7), None])
    async with closing(engine):
        async with engine.submit(Prompt((1,)), SAMPLING) as stream:
            await anext(stream)
            assert engine.stats == EngineStats(num_running=1)
        await asyncio.sleep(0.01)

        assert (replicas.num_aborted, engine.stats) == (1, EngineStats())


async def test_the_call_of_a_replica_has_no_context_of_the_http_request(arena: PixelArena) -> None:
    request = ContextVar("request", default="none")
    seen = []

    class Seeing(FakeReplicas):
        def run(self, submission: Submit, pixels: Sequence[NDArray[np.uint8]]) -> AsyncGenerator[StepDone, None]:
            seen.append(request.get())
            return super().run(submission, pixels)

    request.set("ours")
    engine = await ReplicatedEngine.start(Seeing([[Token(7, "stop")]]), arena, max_num_in_flight=4)

    assert await tokens_of(engine, Prompt((1,))) == [7]
    assert seen == ["none"]


async def test_no_more_are_in_flight_than_all_replicas_take(arena: PixelArena) -> None:
    engine, _ = await engine_of(arena, [None])
    prompts = [engine.submit(Prompt((1,)), SAMPLING) for _ in range(5)]
    async with closing(engine):
        for each in prompts[:4]:
            await each.__aenter__()

        with pytest.raises(Overloaded):
            await prompts[4].__aenter__()
        for each in prompts[:4]:
            await each.__aexit__(None, None, None)


async def test_closing_cuts_off_what_is_in_flight_and_what_comes_after(arena: PixelArena) -> None:
    engine, _ = await engine_of(arena, [Token(7), None])
    async with engine.submit(Prompt((1,)), SAMPLING) as stream:
        await anext(stream)
        await engine.close()
        with pytest.raises(CutOff, match=CLOSED):
            await anext(stream)
    async with engine.submit(Prompt((1,)), SAMPLING) as stream:
        with pytest.raises(CutOff, match=CLOSED):
            await anext(stream)


async def test_a_question_that_fails_is_no_end_of_asking(arena: PixelArena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicated, "PING_S", 0.01)
    engine, replicas = await engine_of(arena, [])
    async with closing(engine):
        replicas.fails = RuntimeError("no replica can be started")
        await until(lambda: not engine.is_ready)
        replicas.fails = None
        await until(lambda: engine.is_ready)

"""scaleout/replica.py: an engine with an arena of its own, for requests whose pixels come from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from foveal.arena import PixelArena
from foveal.config import Config, EngineConfig, ImageConfig, ModelConfig
from foveal.engine.protocol import StepDone, Submit
from foveal.scaleout.messages import encode, read_step
from foveal.scaleout.replica import EngineReplica
from foveal.scaleout.replicated import ReplicatedEngine
from foveal.types import EngineInfo, Prompt, Token
from tests.engine.toy import DEADLY, GREEDY, LOADER, expected_tokens, picture, prompt_of, text, write_toy
from tests.scaleout.closing import closing

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ARENA_BYTES = 1 << 14
ENGINE = EngineConfig(device="cpu", dtype="float32", num_threads=1, block_size=4, kv_cache_bytes=1 << 14)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def arena() -> PixelArena:
    """The ingress's."""
    return PixelArena.create(ARENA_BYTES)


@asynccontextmanager
async def replica(folder: Path, num_arena_bytes: int = ARENA_BYTES) -> AsyncIterator[EngineReplica]:
    config = Config(
        model=ModelConfig(path=write_toy(folder)), engine=ENGINE, images=ImageConfig(arena_bytes=num_arena_bytes)
    )
    replica = await EngineReplica.start(config, LOADER)
    async with closing(replica):
        yield replica


class InProcess:
    """Replicas of one, with the messages that would travel."""

    def __init__(self, replica: EngineReplica) -> None:
        self.replica = replica

    async def info(self) -> EngineInfo:
        return self.replica.info

    async def run(self, submission: Submit, pixels: Sequence[NDArray[np.uint8]]) -> AsyncGenerator[StepDone, None]:
        async with aclosing(self.replica.run(encode(submission), [sent(array.copy()) for array in pixels])) as steps:
            async for step in steps:
                yield read_step(step)


async def sent(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return array


async def tokens_of(engine: ReplicatedEngine, prompt: Prompt) -> list[int]:
    async with engine.submit(prompt, GREEDY) as tokens:
        return [token.token_id async for token in tokens]


async def test_requests_at_once_get_their_own_tokens_and_pictures(tmp_path: Path, arena: PixelArena) -> None:
    prompts = [prompt_of(text(5)), prompt_of(1, picture(arena, 1, 3), 2), prompt_of(picture(arena, 2), text(9, 1))]

    async with replica(tmp_path) as there:
        engine = await ReplicatedEngine.start(InProcess(there), arena, 8)
        async with closing(engine):
            answers = await asyncio.gather(*(tokens_of(engine, prompt) for prompt in prompts))

    assert answers == [expected_tokens(prompt, 8, arena) for prompt in prompts]


async def test_a_request_goes_on_after_the_tokens_of_another_engine(tmp_path: Path, arena: PixelArena) -> None:
    prompt = prompt_of(text(5))
    expected = expected_tokens(prompt, 8, arena)

    async with replica(tmp_path) as there:
        steps = InProcess(there).run(Submit(5, prompt, GREEDY, tuple(expected[:3]), 2), [])
        tokens = [token async for step in steps for _, token in step.tokens]

    assert [token.token_id for token in tokens] == expected[3:]
    assert {token.num_cached_tokens for token in tokens} == {2}


async def test_messages_carry_the_id_that_the_ingress_gave(tmp_path: Path) -> None:
    async with replica(tmp_path) as there:
        steps = [step async for step in InProcess(there).run(Submit(41, prompt_of(1), GREEDY), [])]

    assert {sequence_id for step in steps for sequence_id, _ in step.tokens} == {41}
    assert isinstance(last := steps[-1].tokens[-1][1], Token)
    assert last.finish_reason == "length"


async def test_a_request_that_ends_the_engine_is_told_so(tmp_path: Path) -> None:
    async with replica(tmp_path) as there:
        steps = [step async for step in InProcess(there).run(Submit(41, prompt_of(1, DEADLY), GREEDY), [])]

    assert [sequence_id for step in steps for sequence_id, _ in step.failed] == [41]


async def test_pictures_leave_room_for_others_when_their_request_has_ended(tmp_path: Path, arena: PixelArena) -> None:
    pictures = [picture(arena, seed, 8) for seed in range(1, 9)]  # 64 bytes each
    prompts = [prompt_of(1, image) for image in pictures]

    async with replica(tmp_path, num_arena_bytes=64) as there:
        engine = await ReplicatedEngine.start(InProcess(there), arena, 8)
        async with closing(engine):
            answers = [await tokens_of(engine, prompt) for prompt in prompts]

    assert answers == [expected_tokens(prompt, 8, arena) for prompt in prompts]


async def test_leaving_a_request_aborts_it(tmp_path: Path) -> None:
    async with replica(tmp_path) as there:
        long = Submit(1, prompt_of(1), replace(GREEDY, max_tokens=400))
        async with aclosing(InProcess(there).run(long, [])) as steps:
            await anext(steps)

        after = [step async for step in InProcess(there).run(Submit(2, prompt_of(2), GREEDY), [])]
        assert len([token for step in after for token in step.tokens]) == 8


async def test_work_waits_until_its_first_token(tmp_path: Path) -> None:
    async with (
        replica(tmp_path) as there,
        aclosing(there.run(encode(Submit(1, prompt_of(1), GREEDY)), [], 70)) as steps,
    ):
        first = asyncio.ensure_future(anext(steps))
        await asyncio.sleep(0)
        assert there.num_waiting_tokens == 70
        await first
        assert there.num_waiting_tokens == 0

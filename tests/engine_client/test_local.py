"""engine_client/local.py: the engine in a thread of this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from foveal.arena import PixelArena
from foveal.config import EngineConfig
from foveal.engine_client.local import STOPPED, LocalEngine
from foveal.errors import CheckpointError, ConfigError, GenerationFailed
from foveal.types import Prompt
from tests.engine.toy import GREEDY, LOADER, expected_tokens, picture, prompt_of, text, write_toy

pytestmark = pytest.mark.anyio

CONFIG = EngineConfig(device="cpu", dtype="float32", num_threads=1, block_size=4, kv_cache_bytes=1 << 14)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def arena() -> PixelArena:
    return PixelArena.create(1 << 14)


@asynccontextmanager
async def local_engine(folder: Path, arena: PixelArena) -> AsyncIterator[LocalEngine]:
    engine = await LocalEngine.start(write_toy(folder, step_s=0.001), CONFIG, arena, load_model=LOADER)
    try:
        yield engine
    finally:
        await engine.close()


async def tokens_of(engine: LocalEngine, prompt: Prompt) -> list[int]:
    async with engine.submit(prompt, GREEDY) as tokens:
        return [token.token_id async for token in tokens]


async def test_requests_at_once_get_their_own_tokens(tmp_path: Path, arena: PixelArena) -> None:
    prompts = [prompt_of(text(5)), prompt_of(1, picture(arena, 1, 3), 2), prompt_of(text(9, 1))]

    async with local_engine(tmp_path, arena) as engine:
        answers = await asyncio.gather(*(tokens_of(engine, prompt) for prompt in prompts))

    assert answers == [expected_tokens(prompt, 8, arena) for prompt in prompts]


async def test_it_says_what_it_has_loaded(tmp_path: Path, arena: PixelArena) -> None:
    async with local_engine(tmp_path, arena) as engine:
        info = engine.info

    assert (info.model_type, info.device, info.dtype, info.vocab_size) == ("toy", "cpu", "float32", 64)
    assert (info.block_size, info.num_blocks, info.kv_cache_bytes, info.max_model_len) == (4, 512, 1 << 14, 512)


async def test_leaving_a_stream_frees_its_blocks(tmp_path: Path, arena: PixelArena) -> None:
    async with local_engine(tmp_path, arena) as engine:
        async with engine.submit(prompt_of(1), replace(GREEDY, max_tokens=400)) as tokens:
            await anext(tokens)
        await tokens_of(engine, prompt_of(2))  # its last step comes after the abort

        assert engine.engine.scheduler.sequences == {}
        assert (engine.stats.num_running, engine.stats.num_used_blocks, engine.num_restarts) == (0, 0, 0)


async def test_closing_fails_what_is_in_flight_and_what_comes_after(tmp_path: Path, arena: PixelArena) -> None:
    async with local_engine(tmp_path, arena) as engine:
        async with engine.submit(prompt_of(1), replace(GREEDY, max_tokens=400)) as tokens:
            await anext(tokens)
            await engine.close()
            with pytest.raises(GenerationFailed, match=STOPPED):
                async for _ in tokens:
                    pass
        with pytest.raises(GenerationFailed, match=STOPPED):
            await tokens_of(engine, prompt_of(1))


@pytest.mark.parametrize(
    ("config", "folder", "error"),
    [(replace(CONFIG, device="tpu"), "", ConfigError), (CONFIG, "elsewhere", CheckpointError)],
)
async def test_what_cannot_be_loaded_is_said(
    config: EngineConfig, folder: str, error: type[Exception], tmp_path: Path, arena: PixelArena
) -> None:
    write_toy(tmp_path)

    with pytest.raises(error):
        await LocalEngine.start(str(tmp_path / folder), config, arena, load_model=LOADER)

"""The engine's process dies, hangs or cannot start: streams go on or end with a clear error, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from foveal.arena import PixelArena
from foveal.config import EngineConfig
from foveal.engine.protocol import LOAD_MODEL
from foveal.engine_client.supervisor import QUARANTINED, EngineProcess
from foveal.errors import CLOSED, CheckpointError, ConfigError, GenerationFailed
from foveal.types import Prompt, SamplingParams, Token
from tests.engine.toy import (
    DEADLY,
    GREEDY,
    HANGING,
    LOADER,
    expected_tokens,
    picture,
    prompt_of,
    text,
    write_toy,
)

pytestmark = pytest.mark.slow  # nearly each of them waits for processes that import torch

Result = TypeVar("Result")

ROOT = Path(__file__).parents[2]
CONFIG = EngineConfig(
    device="cpu", dtype="float32", num_threads=1, block_size=4, kv_cache_bytes=1 << 16, step_timeout_s=5.0
)
SEEDED = SamplingParams(temperature=1.0, seed=11, max_tokens=40)


SHARED_ARENA = PixelArena.create(1 << 16)


class Running:
    """An engine process that several tests share, since each start costs an import of torch."""

    def __init__(self, folder: str) -> None:
        self._runner = asyncio.Runner()
        self.engine = self.run(EngineProcess.start(folder, CONFIG, SHARED_ARENA, load_model=LOADER))

    def run(self, scenario: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(scenario)

    def close(self) -> None:
        self.run(self.engine.close())
        self._runner.close()


@pytest.fixture(scope="module", autouse=True)
def importable_toy() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        yield


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(write_toy(tmp_path_factory.mktemp("toy"), step_s=0.005))
    yield running
    running.close()


async def tokens_of(
    engine: EngineProcess,
    prompt: Prompt,
    sampling: SamplingParams = GREEDY,
    after_each: Callable[[int], Awaitable[None]] | None = None,
) -> list[int]:
    """The whole answer; `after_each` is awaited with the number of tokens so far."""
    token_ids = []
    async with engine.submit(prompt, sampling) as tokens:
        async for token in tokens:
            token_ids.append(token.token_id)
            if after_each:
                await after_each(len(token_ids))
    return token_ids


def kill(engine: EngineProcess) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)


def test_streams_go_on_token_for_token_after_kill_9(running: Running) -> None:
    greedy, engine = replace(GREEDY, max_tokens=40), running.engine
    asked = [
        (prompt_of(text(5, 1)), greedy),
        (prompt_of(3, picture(SHARED_ARENA, 1, 6, 10), text(4)), greedy),
        (prompt_of(text(30, 2)), SEEDED),
        (prompt_of(text(5, 1)), SEEDED),
        (prompt_of(text(7, 3)), replace(SEEDED, mirostat_target=3.0, mirostat_lr=0.9)),
    ]

    num_restarts = engine.num_restarts

    async def scenario() -> list[list[int]]:
        undisturbed = [await tokens_of(engine, *question) for question in asked]

        async def kill_at_10(num_tokens: int) -> None:
            if num_tokens == 10:
                kill(engine)

        others = [tokens_of(engine, *question) for question in asked[1:]]
        disturbed = await asyncio.gather(tokens_of(engine, *asked[0], kill_at_10), *others)
        assert disturbed == undisturbed
        return disturbed

    answers = running.run(scenario())

    assert engine.num_restarts == num_restarts + 1
    for (prompt, sampling), answer in zip(asked, answers, strict=True):
        if sampling is greedy:
            assert answer == expected_tokens(prompt, 40, SHARED_ARENA)


def test_streams_survive_deaths_that_are_not_their_fault(running: Running) -> None:
    prompts, engine = [prompt_of(text(5, seed)) for seed in range(6)], running.engine
    sampling, num_restarts = replace(GREEDY, max_tokens=60), engine.num_restarts

    async def kill_thrice(num_tokens: int) -> None:
        if num_tokens in (10, 20, 30):
            kill(engine)

    async def scenario() -> list[list[int]]:
        others = [tokens_of(engine, prompt, sampling) for prompt in prompts[1:]]
        return await asyncio.gather(tokens_of(engine, prompts[0], sampling, kill_thrice), *others)

    assert running.run(scenario()) == [expected_tokens(prompt, 60, SHARED_ARENA) for prompt in prompts]
    assert engine.num_restarts == num_restarts + 3


def test_a_request_that_kills_the_engine_twice_fails_alone(running: Running) -> None:
    prompts = [prompt_of(text(5, seed)) for seed in range(3)]
    sampling, engine = replace(GREEDY, max_tokens=60), running.engine

    async def scenario() -> tuple[list[list[int]], str]:
        started = asyncio.Event()

        async def tell(num_tokens: int) -> None:
            started.set()

        others = [asyncio.create_task(tokens_of(engine, prompt, sampling, tell)) for prompt in prompts]
        await started.wait()
        with pytest.raises(GenerationFailed) as failure:
            await tokens_of(engine, prompt_of(1, DEADLY))
        return await asyncio.gather(*others), str(failure.value)

    answers, message = running.run(scenario())

    assert message == QUARANTINED
    assert answers == [expected_tokens(prompt, 60, SHARED_ARENA) for prompt in prompts]


def test_a_hung_step_is_noticed_and_its_request_fails_at_the_second(running: Running) -> None:
    async def scenario() -> list[int]:
        with pytest.raises(GenerationFailed, match="died twice"):
            await tokens_of(running.engine, prompt_of(1, HANGING))
        return await tokens_of(running.engine, prompt_of(4, 5))

    assert running.run(scenario()) == expected_tokens(prompt_of(4, 5), 8, SHARED_ARENA)


def test_requests_that_come_while_the_engine_is_away_wait_for_it(running: Running) -> None:
    async def scenario() -> list[int]:
        kill(running.engine)
        await asyncio.sleep(0.1)
        return await tokens_of(running.engine, prompt_of(4, 5))

    assert running.run(scenario()) == expected_tokens(prompt_of(4, 5), 8, SHARED_ARENA)


@pytest.mark.parametrize("kill_at", [0, 3])
def test_logprobs_of_a_prompt_come_once_whenever_the_engine_dies(running: Running, kill_at: int) -> None:
    sampling = replace(GREEDY, num_logprobs=1, num_prompt_logprobs=30)

    async def asked(kill_at: int | None) -> list[int]:
        """How many logprobs of the prompt each token brought, and the tokens."""
        async with running.engine.submit(prompt_of(text(30, 5)), sampling) as tokens:
            found: list[Token] = []
            if kill_at == 0:
                kill(running.engine)
            async for token in tokens:
                found.append(token)
                if len(found) == kill_at:
                    kill(running.engine)
        return [len(token.prompt_logprobs) for token in found] + [token.token_id for token in found]

    async def scenario() -> tuple[list[int], list[int]]:
        return await asked(None), await asked(kill_at)

    undisturbed, disturbed = running.run(scenario())

    assert disturbed == undisturbed
    assert undisturbed[:8] == [30, 0, 0, 0, 0, 0, 0, 0]


def test_leaving_a_stream_aborts_it_and_the_engine_goes_on(running: Running) -> None:
    async def scenario() -> list[int]:
        async with running.engine.submit(prompt_of(text(9)), replace(GREEDY, max_tokens=400)) as tokens:
            await anext(tokens)
        return await tokens_of(running.engine, prompt_of(4, 5))

    assert running.run(scenario()) == expected_tokens(prompt_of(4, 5), 8, SHARED_ARENA)


def test_an_engine_s_threads_do_not_spin_for_long_unless_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside another busy process they would wait for threads that have no core."""

    def environment(pid: int | None) -> list[str]:
        return Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")

    async def setting() -> str:
        engine = await EngineProcess.start(write_toy(tmp_path, step_s=0.01), CONFIG, SHARED_ARENA, load_model=LOADER)
        try:
            return next(one for one in environment(engine.pid) if one.startswith("GOMP_SPINCOUNT="))
        finally:
            await engine.close()

    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert asyncio.run(setting()) == "GOMP_SPINCOUNT=3000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert asyncio.run(setting()) == "GOMP_SPINCOUNT=7"


def test_closing_fails_what_is_in_flight_and_leaves_no_process(tmp_path: Path) -> None:
    async def scenario() -> int:
        engine = await EngineProcess.start(write_toy(tmp_path, step_s=0.01), CONFIG, SHARED_ARENA, load_model=LOADER)
        pid = engine.pid
        assert pid is not None
        async with engine.submit(prompt_of(1), replace(GREEDY, max_tokens=400)) as tokens:
            await anext(tokens)
            await engine.close()
            with pytest.raises(GenerationFailed, match=CLOSED):
                async for _ in tokens:
                    pass
        return pid

    assert is_gone(asyncio.run(scenario()))


def test_what_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    folder = write_toy(tmp_path)
    cases = [
        (LOAD_MODEL, CONFIG, CheckpointError, "toy"),  # a family that the registry does not know
        (LOADER, replace(CONFIG, device="tpu"), ConfigError, "tpu"),
        ("tests.engine.toy:die", CONFIG, CheckpointError, "exit status -9"),
    ]

    async def scenario() -> list[object]:
        starts = [EngineProcess.start(folder, config, SHARED_ARENA, load_model=loader) for loader, config, *_ in cases]
        return await asyncio.gather(*starts, return_exceptions=True)

    failures = asyncio.run(scenario())

    for failure, (_, _, error, words) in zip(failures, cases, strict=True):
        assert type(failure) is error
        assert words in str(failure)


def test_the_engine_does_not_outlive_its_parent(tmp_path: Path) -> None:
    folder = write_toy(tmp_path, step_s=0.01)
    parent_code = f"""
import asyncio, os, signal
from tests.faults.test_engine_death import *

async def main():
    engine = await EngineProcess.start({folder!r}, CONFIG, SHARED_ARENA, load_model=LOADER)
    async with engine.submit(prompt_of(1), replace(GREEDY, max_tokens=400)) as tokens:
        await anext(tokens)
        print(engine.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    parent = subprocess.run([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, cwd=ROOT, check=False)

    assert parent.returncode == -signal.SIGKILL
    assert is_gone(int(parent.stdout))


def is_gone(pid: int, within_s: float = 60.0) -> bool:
    """Whether the process ends within that time."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_the_server_side_imports_no_torch() -> None:
    code = "import sys, foveal.engine_client.supervisor; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""The engine's process hangs while it loads or is silent afterwards: that is noticed, and readiness tells the truth."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from foveal.arena import PixelArena
from foveal.config import EngineConfig
from foveal.engine_client import supervisor
from foveal.engine_client.supervisor import EngineProcess
from foveal.errors import CheckpointError
from foveal.workers.spawn import Kind
from tests.engine.toy import GREEDY, prompt_of
from tests.faults.test_engine_death import kill, tokens_of

CONFIG = EngineConfig(load_timeout_s=0.5)


@pytest.fixture(scope="module")
def arena() -> PixelArena:
    return PixelArena.create(1 << 12)


def run_instead(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    monkeypatch.setattr(supervisor, "_ENGINE", Kind(f"tests.faults.engines:{function}", {}))


async def until_away(engine: EngineProcess) -> None:
    while True:
        if not engine.is_ready:
            return
        await asyncio.sleep(0.01)


def test_an_engine_that_makes_no_progress_at_the_first_start_is_an_error_in_words(
    tmp_path: Path, arena: PixelArena, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_instead(monkeypatch, "never_loads")

    with pytest.raises(CheckpointError, match=r"made no progress for 0\.5 s"):
        asyncio.run(EngineProcess.start(str(tmp_path), CONFIG, arena))


@pytest.mark.slow
def test_an_engine_that_is_stopped_while_it_loads_again_is_replaced(
    tmp_path: Path, arena: PixelArena, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_instead(monkeypatch, "stops_at_its_second_start")
    patient = replace(CONFIG, load_timeout_s=10.0)  # enough for a process that imports neither torch nor numpy

    async def scenario() -> tuple[list[int], list[bool]]:
        engine = await EngineProcess.start(str(tmp_path), patient, arena)
        try:
            is_ready = [engine.is_ready]
            kill(engine)
            answer = asyncio.create_task(tokens_of(engine, prompt_of(1)))
            await until_away(engine)
            is_ready.append(engine.is_ready)
            return await answer, [*is_ready, engine.is_ready]
        finally:
            await engine.close()

    assert asyncio.run(scenario()) == ([7], [True, False, True])
    assert (tmp_path / "starts").read_text() == "xxx"


def test_a_silent_engine_is_replaced_though_its_clients_come_and_go(
    tmp_path: Path, arena: PixelArena, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_instead(monkeypatch, "never_answers")
    impatient = EngineConfig(load_timeout_s=30.0, step_timeout_s=0.5)

    async def scenario() -> None:
        engine = await EngineProcess.start(str(tmp_path), impatient, arena)
        try:
            while engine.num_restarts == 0:
                async with engine.submit(prompt_of(1), GREEDY):
                    await asyncio.sleep(0.1)
        finally:
            await engine.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))

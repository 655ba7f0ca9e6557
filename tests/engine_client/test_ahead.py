"""The engine's process runs while the server is still being put together."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from foveal.arena import PixelArena
from foveal.config import EngineConfig
from foveal.engine_client.ahead import StartedAhead
from foveal.errors import CheckpointError


def children() -> set[int]:
    """The processes that this one has started and not yet ended."""
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text("ascii").split()}


def test_the_process_is_there_before_anybody_asks_for_the_engine_and_ends_if_nobody_does(tmp_path: Path) -> None:
    async def scenario() -> tuple[set[int], set[int]]:
        before = children()
        ahead = await StartedAhead.begin(str(tmp_path), EngineConfig(), PixelArena.create(1 << 20))
        meanwhile = children() - before
        await ahead.close()
        return meanwhile, children() - before

    meanwhile, afterwards = asyncio.run(scenario())

    assert len(meanwhile) == 1
    assert afterwards == set()


def test_why_it_did_not_start_is_told_to_who_asks(tmp_path: Path) -> None:
    async def scenario() -> None:
        arena = PixelArena.create(1 << 20)
        ahead = await StartedAhead.begin(str(tmp_path), EngineConfig(), arena)
        try:
            await ahead.start(str(tmp_path), EngineConfig(), arena, lambda share: None)
        finally:
            await ahead.close()

    with pytest.raises(CheckpointError, match=tmp_path.name):
        asyncio.run(scenario())

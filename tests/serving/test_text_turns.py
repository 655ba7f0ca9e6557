"""Long texts wait for each other; short ones, and those of other keys, do not wait for them all."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from functools import partial

from foveal.serving.text_turns import LONG_CHARS, TextTurns
from foveal.types import Caller, CompletionRequest

LONG = CompletionRequest("x" * (LONG_CHARS + 1))
SHORT = CompletionRequest("x")


def test_a_short_text_does_not_wait_for_long_ones() -> None:
    async def run() -> None:
        turns, may_end = TextTurns(), threading.Event()
        long = [asyncio.create_task(turns.run(LONG, may_end.wait)) for _ in range(20)]
        try:
            assert await asyncio.wait_for(turns.run(SHORT, lambda: "rendered"), 60) == "rendered"
            assert not any(task.done() for task in long)
        finally:
            may_end.set()
            await asyncio.gather(*long)

    asyncio.run(run())


def test_one_long_text_runs_at_a_time_and_keys_take_turns() -> None:
    running, order, at_once = 0, [], []

    def work(name: str) -> None:
        nonlocal running
        running += 1
        at_once.append(running)
        order.append(name)
        running -= 1

    async def run() -> None:
        turns, may_begin = TextTurns(), threading.Event()
        first = asyncio.create_task(turns.run(LONG, may_begin.wait))
        await asyncio.sleep(0)
        attacker = replace(LONG, caller=Caller("r1", "attacker"))
        bystander = replace(LONG, caller=Caller("r2", "bystander"))
        asked = [(attacker, "attacker")] * 7 + [(bystander, "bystander")]
        tasks = [asyncio.create_task(turns.run(request, partial(work, name))) for request, name in asked]
        await asyncio.sleep(0)
        may_begin.set()
        await asyncio.gather(first, *tasks)

    asyncio.run(run())
    assert order.index("bystander") == 1  # behind one of the seven
    assert max(at_once) == 1

"""Tasks that outlive the request that started them."""

from __future__ import annotations

import asyncio

import pytest

from foveal.media.tasks import BackgroundTasks

pytestmark = pytest.mark.anyio


async def test_a_task_outlives_its_caller() -> None:
    tasks, go = BackgroundTasks(), asyncio.Event()

    async def work() -> str:
        await go.wait()
        return "done"

    async def call() -> str:
        return await asyncio.shield(task)

    task = tasks.start(work())
    caller = asyncio.create_task(call())
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    go.set()

    assert await task == "done"


async def test_close_cancels_what_runs() -> None:
    tasks = BackgroundTasks()
    task = tasks.start(asyncio.Event().wait())

    await tasks.close()

    assert task.cancelled()


async def test_an_error_that_nobody_waits_for_is_not_reported_as_lost() -> None:
    lost: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: lost.append(context))

    async def fail() -> None:
        raise ValueError

    BackgroundTasks().start(fail())
    for _ in range(3):
        await asyncio.sleep(0)

    assert lost == []

"""Work is cancelled when its client disconnects, and has cleaned up by then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from foveal.http.dialects.disconnect import unless_client_leaves

if TYPE_CHECKING:
    from starlette.types import Message


async def stays() -> Message:
    await asyncio.Event().wait()
    return {"type": "http.disconnect"}


async def leaves() -> Message:
    return {"type": "http.disconnect"}


class Work:
    def __init__(self, result: Exception | None = None, *, is_endless: bool = False) -> None:
        self.result = result
        self.is_endless = is_endless
        self.said: list[str] = []

    async def run(self) -> None:
        try:
            if self.is_endless:
                await asyncio.Event().wait()
            if self.result is not None:
                raise self.result
            self.said.append("done")
        finally:
            await asyncio.sleep(0)
            self.said.append("clean")


def test_work_is_finished_for_a_client_that_stays() -> None:
    work = Work()
    asyncio.run(unless_client_leaves(stays, work.run()))
    assert work.said == ["done", "clean"]


def test_an_error_of_the_work_is_raised_as_it_is() -> None:
    with pytest.raises(KeyError):
        asyncio.run(unless_client_leaves(stays, Work(KeyError("x")).run()))


def test_work_is_cancelled_and_cleaned_up_when_the_client_leaves() -> None:
    work = Work(is_endless=True)
    asyncio.run(unless_client_leaves(leaves, work.run()))
    assert work.said == ["clean"]


def test_work_is_cancelled_and_cleaned_up_when_we_are() -> None:
    work = Work(is_endless=True)

    async def run() -> None:
        async with asyncio.timeout(0.01):
            await unless_client_leaves(stays, work.run())

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    assert work.said == ["clean"]


def test_cleaning_up_is_not_interrupted_when_everything_is_cancelled_at_once() -> None:
    work = Work(is_endless=True)

    async def run() -> None:
        waiting = asyncio.create_task(unless_client_leaves(stays, work.run()))
        await asyncio.sleep(0.01)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.wait([waiting])

    asyncio.run(run())
    assert work.said == ["clean"]

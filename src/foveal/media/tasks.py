"""Tasks that may outlive the request that started them, because others want their result. Knows nothing of images."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class BackgroundTasks:
    """Keeps references to its tasks and retrieves their errors; wait for one with `await asyncio.shield(task)`."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it where nothing waits for the task


class Shared(Generic[T]):
    """A task with callers who wait for it. It is cancelled when the last of them has left.

    `forget` is called once, when it has ended or is cancelled: from then on nobody may join.
    """

    def __init__(self, task: asyncio.Task[T], forget: Callable[[], object]) -> None:
        self._task = task
        self._forget = forget
        self._num_callers = 0

    async def result(self) -> T:
        """Cancelling one caller changes nothing for the others."""
        self._num_callers += 1
        try:
            return await asyncio.shield(self._task)
        finally:
            self._num_callers -= 1
            if self._num_callers == 0:
                self._forget()
                self._task.cancel()  # without effect where it has ended


async def ended(task: asyncio.Task[Any]) -> None:
    """Wait until the task has ended, even if this is cancelled, which is raised after that."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled

"""A thread that works on a database, one piece at a time. Work that waits for too long is interrupted, and fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 5.0


class Teller:
    """`interrupt`, called from the event loop, makes what the thread waits for fail."""

    def __init__(self, name: str, interrupt: Callable[[], None], patience_s: float = PATIENCE_S) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._interrupt = interrupt
        self._patience_s = patience_s

    async def do(self, work: Callable[[], T]) -> T:
        """Raises what the work raises. Cancelling the caller does not stop the work."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        ended, _ = await asyncio.wait([future], timeout=self._patience_s)
        if not ended:
            self._interrupt()
        return await asyncio.shield(future)

    def close(self) -> None:
        self._thread.shutdown()

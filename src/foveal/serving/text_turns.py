"""Runs work on a request's text in threads of its own, where callers take turns.

Tokenising releases the interpreter lock, so a thread competes for a core only. Long texts have one thread, so that
they neither take all cores nor delay short ones. A thread that has begun cannot be stopped; its work is bounded.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from foveal.shares import Shares

if TYPE_CHECKING:
    from collections.abc import Callable

    from foveal.types import ChatRequest, CompletionRequest

T = TypeVar("T")

LONG_CHARS = 64 * 1024  # some 25 ms
NUM_SHORT = 2  # threads for short texts


class TextTurns:
    """The threads of one pipeline."""

    def __init__(self) -> None:
        self._short = _Lane(NUM_SHORT)
        self._long = _Lane(1)

    async def run(self, request: ChatRequest | CompletionRequest, work: Callable[[], T]) -> T:
        """The result of `work`, which takes time by the length of the request's text. Raises TooManyRequests."""
        lane = self._long if sum(map(len, request.texts)) > LONG_CHARS else self._short
        return await lane.shares.run(request.caller.share, lane.threads, work)


class _Lane:
    def __init__(self, num_threads: int) -> None:
        self.shares = Shares(num_threads)
        self.threads = ThreadPoolExecutor(num_threads, "text")

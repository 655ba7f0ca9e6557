"""Samples and runs with round times, and a clock that a test sets."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Sequence

from foveal.bench.records import Request, RoundTime, Run, Sample


class FakeClock:
    """Time passes only while everybody sleeps, and then at once."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._order = itertools.count()
        self._waking: asyncio.Task[None] | None = None

    def now(self) -> float:
        return self._now_s

    async def sleep_until(self, moment_s: float) -> None:
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (max(moment_s, self._now_s), next(self._order), woken))
        if self._waking is None:
            self._waking = asyncio.create_task(self._wake())
        await woken.wait()

    async def sleep(self, duration_s: float) -> None:
        await self.sleep_until(self._now_s + duration_s)

    async def _wake(self) -> None:
        while self._sleepers:
            for _ in range(20):  # whoever can still do something at this moment does it first
                await asyncio.sleep(0)
            self._now_s, _, woken = heapq.heappop(self._sleepers)
            woken.set()
        self._waking = None


def sample(
    conversation: int = 0,
    *,
    start_s: float = 0.0,
    sent_s: float | None = None,
    first_s: float = 1.0,
    gap_s: float = 0.1,
    num_chunks: int = 5,
    tail_s: float = 0.0,
    round_number: int = 0,
    completion_tokens: int | None = None,
    prompt_tokens: int | None = None,
    cached_tokens: int | None = None,
    error: str | None = None,
) -> Sample:
    """Chunks at start + first, then every gap; the last byte comes `tail_s` after the last chunk."""
    chunks_s = tuple(start_s + first_s + index * gap_s for index in range(num_chunks))
    last_s = chunks_s[-1] if chunks_s else start_s + first_s
    return Sample(
        Request(conversation, 1, round_number),
        start_s,
        start_s if sent_s is None else sent_s,
        last_s + tail_s,
        chunks_s,
        last_s,
        "length",
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
        completion_tokens=completion_tokens,
        status=200,
        error=error,
    )


def run_of(first: Sequence[Sample], second: Sequence[Sample], round_s: tuple[float, float] = (1.0, 1.0)) -> Run:
    """Two servers' samples; each of their rounds took so long."""
    samples = (tuple(first), tuple(second))
    rounds = tuple(
        tuple(RoundTime(number, 0.0, took_s) for number in sorted({each.request.round for each in of_server}))
        for of_server, took_s in zip(samples, round_s, strict=True)
    )
    return Run(samples, rounds, is_cut=False, cpu_share=0.0, waited_s=0.0)

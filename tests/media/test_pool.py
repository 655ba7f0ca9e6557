"""Where decoding jobs run, and that a decoder that hangs or dies fails only its own job."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from foveal.arena import PixelArena
from foveal.config import ImageConfig
from foveal.errors import Overloaded
from foveal.media.cost import decode_cost_s
from foveal.media.pool import Decoder, InProcess, WorkerPool
from foveal.media.protocol import Done, Measure, Measured, Prepare, Refusal
from foveal.types import PixelRef, Size
from tests.media.builders import png
from tests.media.tiny import LOAD_TINY, SIDE, TRAP, TinyProcessor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.anyio

SIZE = Size(8, 6)
PIXELS = PixelRef(0, (SIDE, SIDE, 3))
DIED = Refusal("the picture could not be decoded; save it again as PNG or JPEG and send that")


def prepare(size: Size = SIZE, colour: str = "red") -> Prepare:
    return Prepare(png(colour, size), TinyProcessor().layout(size, "auto"), PIXELS)


def measured(size: Size) -> Measured:
    return Measured(size, decode_cost_s(size), is_plain=True)


@asynccontextmanager
async def pool(trap: str = "", **settings: Any) -> AsyncIterator[WorkerPool]:
    """One worker, which does what `trap` says with a picture of the size TRAP."""
    local: dict[str, Any] = {"num_workers": 1, "decode_timeout_s": 60.0}
    config = ImageConfig(**local | settings)
    workers = WorkerPool(config, PixelArena.create(4096), LOAD_TINY, trap)
    try:
        yield workers
    finally:
        await workers.close()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("num_workers", [0, 1])
async def test_both_ways_of_decoding_answer_alike(num_workers: int) -> None:
    arena = PixelArena.create(4096)
    config = ImageConfig(num_workers=num_workers, decode_timeout_s=60)
    decoder: Decoder = (
        WorkerPool(config, arena, LOAD_TINY, "") if num_workers else InProcess(TinyProcessor(), arena, 50_000_000)
    )

    assert await decoder.run(Measure(png())) == measured(SIZE)
    assert await decoder.run(prepare(colour="lime")) == Done(SIZE)
    assert isinstance(await decoder.run(Measure(b"nothing")), Refusal)
    assert np.all(arena.view(PIXELS) == (0, 255, 0))
    await decoder.close()


async def test_more_jobs_than_workers() -> None:
    async with pool(num_workers=2) as workers:
        replies = await asyncio.gather(*(workers.run(Measure(png(size=(i, 1)))) for i in range(1, 20)))

    assert replies == [measured(Size(i, 1)) for i in range(1, 20)]


async def test_a_large_picture_passes() -> None:
    noise = np.random.default_rng(1).integers(0, 256, 5_000_000, dtype=np.uint8).tobytes()
    async with pool() as workers:
        assert await workers.run(Measure(png()[:-12] + noise)) == measured(SIZE)


async def test_a_decoder_that_hangs_is_killed_and_replaced() -> None:
    async with pool("hang", decode_timeout_s=2.0) as workers:
        hung = workers.pids
        first, second = await asyncio.gather(workers.run(prepare(TRAP)), workers.run(prepare()))

        assert first == Refusal("decoding took longer than 2 s; scale it down or save it as PNG or JPEG")
        assert second == Done(SIZE)
        assert not is_running(hung[0])
        assert len(workers.pids) == 1


@pytest.mark.parametrize("trap", ["crash", "fail"])
async def test_a_decoder_that_dies_costs_its_picture_alone(trap: str) -> None:
    async with pool(trap) as workers:
        first, second = await asyncio.gather(workers.run(prepare(TRAP)), workers.run(prepare()))

    assert first == DIED
    assert second == Done(SIZE)


async def test_a_decoder_that_grows_meets_its_limit() -> None:
    async with pool("grow") as workers:
        before = workers.pids
        reply = await workers.run(prepare(TRAP))

        assert reply == Refusal("the picture needs too much memory to decode; scale it down or save it as PNG or JPEG")
        assert await workers.run(prepare()) == Done(SIZE)
        assert workers.pids == before


async def test_a_stopped_worker_is_like_one_that_hangs() -> None:
    async with pool(decode_timeout_s=2.0) as workers:
        await workers.run(prepare())
        os.kill(workers.pids[0], signal.SIGSTOP)

        assert await workers.run(prepare()) == Refusal(
            "decoding took longer than 2 s; scale it down or save it as PNG or JPEG"
        )
        assert await workers.run(prepare()) == Done(SIZE)


async def test_a_worker_that_died_between_jobs_costs_nothing() -> None:
    async with pool() as workers:
        await workers.run(prepare())
        os.kill(workers.pids[0], signal.SIGKILL)
        await asyncio.to_thread(os.waitid, os.P_PID, workers.pids[0], os.WEXITED | os.WNOWAIT)  # its end is not taken

        assert await workers.run(prepare()) == Done(SIZE)


async def test_a_worker_killed_during_a_job_costs_nothing() -> None:
    async with pool(decode_timeout_s=60.0) as workers:
        await workers.run(prepare())
        os.kill(workers.pids[0], signal.SIGSTOP)  # so that the job is certain to run when the worker is killed
        job = asyncio.create_task(workers.run(prepare()))
        await asyncio.sleep(0.1)
        os.kill(workers.pids[0], signal.SIGKILL)

        assert await job == Done(SIZE)


async def test_two_workers_killed_from_outside_are_not_blamed_on_the_picture() -> None:
    async with pool("hang", decode_timeout_s=60.0) as workers:
        job = asyncio.create_task(workers.run(prepare(TRAP)))
        for _ in range(2):
            await kill_at_work(workers)

        with pytest.raises(Overloaded, match="was ended twice from outside, perhaps for want of memory; try again"):
            await job
        assert await workers.run(prepare()) == Done(SIZE)


async def kill_at_work(workers: WorkerPool) -> None:
    """Kill the one worker, once it is ready."""
    pid = workers.pids[0]
    await until(lambda: is_limited(pid))
    os.kill(pid, signal.SIGKILL)
    await until(lambda: workers.pids != [pid])


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - another process makes it true
        await asyncio.sleep(0.02)


def is_limited(pid: int) -> bool:
    """Whether a worker has given up its privileges, which it does last before its first job."""
    return "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()


async def test_a_worker_that_dies_idle_leaves_no_zombie() -> None:
    async with pool() as workers:
        await workers.run(prepare())
        pid = workers.pids[0]
        os.kill(pid, signal.SIGKILL)

        await until(lambda: not is_running(pid))  # a zombie is, for kill


async def test_a_job_that_waits_ends_with_its_caller() -> None:
    async with pool("hang", decode_timeout_s=60.0) as workers:
        await workers.run(prepare())
        running = asyncio.create_task(workers.run(prepare(TRAP)))
        waiting = [asyncio.create_task(workers.run(prepare(TRAP))) for _ in range(200)]
        await asyncio.sleep(0.1)
        before = workers.pids
        for job in waiting:
            job.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

        assert workers.num_waiting == 0
        assert workers.pids == before  # none of them was begun
        running.cancel()


async def test_a_job_that_runs_ends_with_its_caller() -> None:
    async with pool("hang", decode_timeout_s=3600.0) as workers:
        await workers.run(prepare())
        before = workers.pids
        job = asyncio.create_task(workers.run(prepare(TRAP)))
        await asyncio.sleep(0.1)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)

        assert not is_running(before[0])  # nothing writes to its place in the arena any more
        assert await workers.run(prepare()) == Done(SIZE)


async def test_a_caller_with_many_jobs_does_not_delay_the_first_of_another() -> None:
    """Counted in jobs, since times depend on the machine: of 100 that were there before, at most three are done."""
    async with pool() as workers:
        flood = [asyncio.create_task(workers.run(prepare(), "attacker", 0.01)) for _ in range(100)]
        await asyncio.sleep(0)
        await workers.run(prepare(), "bystander", 0.01)

        assert sum(job.done() for job in flood) <= 3
        for job in flood:
            job.cancel()


async def test_close_ends_the_processes_whatever_they_do() -> None:
    async with pool("hang", num_workers=2) as workers:
        pids = workers.pids
        caller = asyncio.create_task(workers.run(prepare(TRAP)))
        await asyncio.sleep(0.5)

    assert not any(is_running(pid) for pid in pids)
    with pytest.raises(asyncio.CancelledError):
        await caller

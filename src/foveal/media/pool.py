"""Runs decoding jobs, in worker processes or in this one. Knows nothing of requests.

A worker that takes too long or dies is killed and replaced, and only its one job fails. A job ends with its caller, and
callers have fair turns. Once `run` has ended, nothing writes to the job's slot of the arena any more.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from typing import Protocol

from foveal.arena import PixelArena
from foveal.config import ImageConfig
from foveal.errors import Overloaded
from foveal.media.protocol import REPLIES, SETTINGS, Job, Refusal, Reply, WorkerSettings, jobs
from foveal.media.tasks import BackgroundTasks, ended
from foveal.media.turns import Rules, Turns
from foveal.media.worker import answer
from foveal.models.family import Processor
from foveal.workers.process import ChildProcess, Gone
from foveal.workers.spawn import ONE_THREAD, Kind, spawn

_WORKER = Kind("foveal.media.worker:serve", ONE_THREAD)
_START_TIMEOUT_S = 60.0
_GRACE_S = 0.25  # for a job that nobody waits for any more; a new worker takes about as long to start
_REAP_S = 1.0
_LARGE_S = 0.5  # jobs of this estimate leave a worker for smaller ones
_MAX_WAITING = 1024
_DIED = "the picture could not be decoded; save it again as PNG or JPEG and send that"
_KILLED = "the program that decodes pictures was ended twice from outside, perhaps for want of memory; try again"


class Decoder(Protocol):
    """Answers jobs, several at once. `caller` is whose turn a job takes, `cost_s` an estimate of its time."""

    async def run(self, job: Job, caller: str = "", cost_s: float = 0.0) -> Reply: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class InProcess:
    """Decodes in a thread of this process without limits of time or memory, for images that are trusted."""

    processor: Processor
    arena: PixelArena
    max_image_pixels: int

    async def run(self, job: Job, caller: str = "", cost_s: float = 0.0) -> Reply:
        return await asyncio.to_thread(answer, job, self.processor, self.arena, self.max_image_pixels)

    async def close(self) -> None:
        pass


class _Died(Exception):
    """A worker ended during a job, with this exit status: negative for a signal."""

    def __init__(self, status: int) -> None:
        self.was_killed = status == -signal.SIGKILL  # which no decoder does to itself


class WorkerPool:
    """`config.num_workers` processes, all started at once. Nothing waits until they are ready.

    `processor_factory` ("module:function") makes the processor in the worker from the `checkpoint` folder.
    """

    def __init__(self, config: ImageConfig, arena: PixelArena, processor_factory: str, checkpoint: str) -> None:
        self._config = config
        self._arena = arena
        self._processor_factory = processor_factory
        self._checkpoint = checkpoint
        self._jobs = jobs(_max_encoded_bytes(config))
        self._tasks = BackgroundTasks()
        self._turns = Turns(Rules(num_places=config.num_workers, max_waiting=_MAX_WAITING, large_s=_LARGE_S))
        self._workers = {self._spawn() for _ in range(config.num_workers)}
        self._idle = list(self._workers)  # as many as there are turns that nobody has
        self.num_dead = 0  # of the idle ones
        self._tasks.start(self._reap())

    @property
    def pids(self) -> list[int]:
        """The process ids of the current workers."""
        return [worker.pid for worker in self._workers]

    @property
    def num_waiting(self) -> int:
        """Jobs that no worker has yet."""
        return self._turns.num_waiting

    async def run(self, job: Job, caller: str = "", cost_s: float = 0.0) -> Reply:
        """Raises Overloaded and TooManyRequests. A caller that is cancelled takes its job along.

        Then a job that waits is dropped. One that runs may still finish within `_GRACE_S`, or its worker is ended.
        """
        async with self._turns.turn(caller, cost_s):
            task = self._tasks.start(self._run(job))
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                asyncio.get_running_loop().call_later(_GRACE_S, task.cancel)
                await ended(task)
                raise

    async def close(self) -> None:
        """Ends the processes. Jobs that still run are cancelled."""
        await self._tasks.close()
        await asyncio.gather(*(worker.end() for worker in self._workers))

    async def _run(self, job: Job) -> Reply:
        """A death may come from outside, so a second worker tries, too."""
        try:
            return await self._try(job)
        except _Died:
            pass
        try:
            return await self._try(job)
        except _Died as died:
            if died.was_killed:
                raise Overloaded(_KILLED) from None
            return Refusal(_DIED)

    async def _try(self, job: Job) -> Reply:
        worker = self._idle.pop()
        try:
            if not worker.is_alive:  # it died between two jobs, so this picture is not the cause
                worker = self._successor(worker)
            return await self._ask(worker, job)
        finally:
            self._idle.append(worker if worker.is_alive else self._successor(worker))

    async def _ask(self, worker: ChildProcess, job: Job) -> Reply:
        """Raises _Died. However it is left, the worker is idle or gone."""
        limit_s = self._config.decode_timeout_s
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await worker.ready()
            async with asyncio.timeout(limit_s):
                return await worker.ask(self._jobs.frame(job), REPLIES)
        except TimeoutError:
            await self._end(worker)
            return Refusal(f"decoding took longer than {limit_s:g} s; scale it down or save it as PNG or JPEG")
        except Gone:
            raise _Died(await self._end(worker)) from None
        except asyncio.CancelledError:
            await self._end(worker)
            raise

    async def _reap(self) -> None:
        """Ask idle workers whether they live: one that died is a zombie until then. The next job replaces it."""
        while True:
            await asyncio.sleep(_REAP_S)
            self.num_dead = sum(not worker.is_alive for worker in self._idle)

    async def _end(self, worker: ChildProcess) -> int:
        """Its exit status, once it is gone, also where this is cancelled: until then it may write to the arena."""
        task = self._tasks.start(worker.end())
        await ended(task)
        return task.result()

    def _successor(self, worker: ChildProcess) -> ChildProcess:
        self._tasks.start(worker.end())  # it is dead; this closes what belongs to it
        self._workers.discard(worker)
        successor = self._spawn()
        self._workers.add(successor)
        return successor

    def _spawn(self) -> ChildProcess:
        settings = WorkerSettings(
            arena_fd=self._arena.fd,
            arena_bytes=self._arena.num_bytes,
            processor_factory=self._processor_factory,
            checkpoint=self._checkpoint,
            max_encoded_bytes=_max_encoded_bytes(self._config),
            max_image_pixels=self._config.max_image_pixels,
            job_timeout_s=self._config.decode_timeout_s,
            job_memory_bytes=self._config.decode_memory_bytes,
        )
        return spawn(_WORKER, SETTINGS.frame(settings), [self._arena.fd])


def _max_encoded_bytes(config: ImageConfig) -> int:
    return max(config.max_image_bytes, config.max_file_bytes)

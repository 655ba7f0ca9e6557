"""Runs decoding jobs, in worker processes or in this one. Knows nothing of requests.

A worker that takes too long or dies is killed and replaced, and only its one job fails. Once a job has its reply,
nothing writes to its slot of the arena any more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from foveal.arena import PixelArena
from foveal.config import ImageConfig
from foveal.media.protocol import REPLIES, SETTINGS, Job, Refusal, Reply, WorkerSettings, jobs
from foveal.media.tasks import BackgroundTasks
from foveal.media.worker import answer
from foveal.models.family import Processor
from foveal.workers.process import ChildProcess, Gone
from foveal.workers.spawn import ONE_THREAD, Kind, spawn

_WORKER = Kind("foveal.media.worker:serve", ONE_THREAD)
_START_TIMEOUT_S = 60.0
_DIED = "the picture could not be decoded; save it again as PNG or JPEG and send that"


class Decoder(Protocol):
    """Answers jobs, several at once."""

    async def run(self, job: Job) -> Reply: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class InProcess:
    """Decodes in a thread of this process without limits of time or memory, for images that are trusted."""

    processor: Processor
    arena: PixelArena
    max_image_pixels: int

    async def run(self, job: Job) -> Reply:
        return await asyncio.to_thread(answer, job, self.processor, self.arena, self.max_image_pixels)

    async def close(self) -> None:
        pass


class WorkerPool:
    """`config.num_workers` processes, all started at once. Nothing waits until they are ready.

    `processor_factory` ("module:function") makes the processor in the worker from the `checkpoint` folder.
    """

    def __init__(self, config: ImageConfig, arena: PixelArena, processor_factory: str, checkpoint: str) -> None:
        self._config = config
        self._arena = arena
        self._processor_factory = processor_factory
        self._checkpoint = checkpoint
        self._jobs = jobs(config.max_image_bytes)
        self._tasks = BackgroundTasks()
        self._workers = {self._spawn() for _ in range(config.num_workers)}
        self._idle: asyncio.Queue[ChildProcess] = asyncio.Queue()
        for worker in self._workers:
            self._idle.put_nowait(worker)

    @property
    def pids(self) -> list[int]:
        """The process ids of the current workers."""
        return [worker.pid for worker in self._workers]

    async def run(self, job: Job) -> Reply:
        """Cancelling the caller does not stop the job, which runs to its end."""
        return await asyncio.shield(self._tasks.start(self._run(job)))

    async def close(self) -> None:
        """Ends the processes. Jobs that still run are cancelled."""
        await self._tasks.close()
        await asyncio.gather(*(worker.end() for worker in self._workers))

    async def _run(self, job: Job) -> Reply:
        worker = await self._idle.get()
        try:
            if not worker.is_alive:  # it died between two jobs, so this image is not the cause
                worker = await self._replace(worker)
            return await self._ask(worker, job)
        finally:
            self._idle.put_nowait(worker if worker.is_alive else await self._replace(worker))

    async def _ask(self, worker: ChildProcess, job: Job) -> Reply:
        limit_s = self._config.decode_timeout_s
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await worker.ready()
            async with asyncio.timeout(limit_s):
                return await worker.ask(self._jobs.frame(job), REPLIES)
        except TimeoutError:
            await worker.end()
            return Refusal(f"decoding took longer than {limit_s:g} s; scale it down or save it as PNG or JPEG")
        except Gone:
            await worker.end()
            return Refusal(_DIED)

    async def _replace(self, worker: ChildProcess) -> ChildProcess:
        await worker.end()
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
            max_image_bytes=self._config.max_image_bytes,
            max_image_pixels=self._config.max_image_pixels,
            job_timeout_s=self._config.decode_timeout_s,
            job_memory_bytes=self._config.decode_memory_bytes,
        )
        return spawn(_WORKER, SETTINGS.frame(settings), [self._arena.fd])

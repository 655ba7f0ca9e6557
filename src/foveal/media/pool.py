"""Where decoding jobs run: in worker processes, or in this one. Knows nothing of what a picture is for.

A worker that takes too long or dies costs its one job: it is killed and replaced, and when a job's reply is there,
nothing writes to its part of the arena any more.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Protocol

import msgspec

from foveal.arena import PixelArena
from foveal.config import ImageConfig
from foveal.media.protocol import (
    LENGTH,
    MAX_REPLY_BYTES,
    Job,
    Ready,
    Refusal,
    Reply,
    WorkerSettings,
    decode_reply,
    frame,
)
from foveal.media.tasks import BackgroundTasks
from foveal.media.worker import answer
from foveal.models.family import Processor

_START_TIMEOUT_S = 60.0
_INHERITED_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH")  # what Python may need to start; no keys, no tokens
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_DIED = "the picture could not be decoded; save it again as PNG or JPEG and send that"


class Decoder(Protocol):
    """Answers jobs, several at once."""

    async def run(self, job: Job) -> Reply: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class InProcess:
    """Decodes in a thread of this process, for people who look at their own pictures: no limit of time or memory."""

    processor: Processor
    arena: PixelArena
    max_image_pixels: int

    async def run(self, job: Job) -> Reply:
        return await asyncio.to_thread(answer, job, self.processor, self.arena, self.max_image_pixels)

    async def close(self) -> None:
        pass


class WorkerPool:
    """`config.num_workers` processes, all started at once and without waiting for them.

    `processor_factory` ("module:function") makes the processor in the worker from the `checkpoint` folder.
    """

    def __init__(self, config: ImageConfig, arena: PixelArena, processor_factory: str, checkpoint: str) -> None:
        self._config = config
        self._arena = arena
        self._processor_factory = processor_factory
        self._checkpoint = checkpoint
        self._tasks = BackgroundTasks()
        self._workers = {self._spawn() for _ in range(config.num_workers)}
        self._idle: asyncio.Queue[Worker] = asyncio.Queue()
        for worker in self._workers:
            self._idle.put_nowait(worker)

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers there are now."""
        return [worker.process.pid for worker in self._workers]

    async def run(self, job: Job) -> Reply:
        """A caller who is cancelled does not take the worker with him: the job runs to its end."""
        return await asyncio.shield(self._tasks.start(self._run(job)))

    async def close(self) -> None:
        """Ends the processes. Jobs that still run are cancelled."""
        await self._tasks.close()
        await asyncio.gather(*(worker.kill() for worker in self._workers))

    async def _run(self, job: Job) -> Reply:
        worker = await self._idle.get()
        try:
            if not worker.is_alive:  # it died between two jobs, which is not this picture's fault
                worker = await self._replace(worker)
            return await self._ask(worker, job)
        finally:
            self._idle.put_nowait(worker if worker.is_alive else await self._replace(worker))

    async def _ask(self, worker: Worker, job: Job) -> Reply:
        limit_s = self._config.decode_timeout_s
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await worker.ready()
            async with asyncio.timeout(limit_s):
                return await worker.ask(job)
        except TimeoutError:
            await worker.kill()
            return Refusal(f"decoding took longer than {limit_s:g} s; scale it down or save it as PNG or JPEG")
        except (OSError, EOFError, msgspec.DecodeError):
            await worker.kill()
            return Refusal(_DIED)

    async def _replace(self, worker: Worker) -> Worker:
        await worker.kill()
        self._workers.discard(worker)
        successor = self._spawn()
        self._workers.add(successor)
        return successor

    def _spawn(self) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            settings = WorkerSettings(
                socket_fd=theirs.fileno(),
                arena_fd=self._arena.fd,
                arena_bytes=self._arena.num_bytes,
                processor_factory=self._processor_factory,
                checkpoint=self._checkpoint,
                max_image_pixels=self._config.max_image_pixels,
                job_timeout_s=self._config.decode_timeout_s,
                job_memory_bytes=self._config.decode_memory_bytes,
            )
            return Worker(_launch(settings), ours)


class Worker:
    """The server's end of one worker process."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        self.process = process
        self._connection = connection
        self._connection.setblocking(False)
        self._is_ready = False

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    async def ready(self) -> None:
        """Wait until the process is ready for jobs."""
        if not self._is_ready:
            self._is_ready = isinstance(await self._receive(), Ready)

    async def ask(self, job: Job) -> Reply:
        """Raises OSError, EOFError or msgspec.DecodeError where the process does not keep to the protocol."""
        await asyncio.get_running_loop().sock_sendall(self._connection, frame(job))
        reply = await self._receive()
        if isinstance(reply, Ready):
            raise EOFError
        return reply

    async def kill(self) -> None:
        """When this returns, the process is gone."""
        self.process.kill()
        await asyncio.to_thread(self.process.wait)
        self._connection.close()

    async def _receive(self) -> Ready | Reply:
        num_bytes = LENGTH.unpack(await self._read(LENGTH.size))[0]
        if num_bytes > MAX_REPLY_BYTES:
            raise EOFError
        return decode_reply(await self._read(num_bytes))

    async def _read(self, num_bytes: int) -> bytes:
        loop = asyncio.get_running_loop()
        message = b""
        while len(message) < num_bytes:
            received = await loop.sock_recv(self._connection, num_bytes - len(message))
            if not received:
                raise EOFError
            message += received
        return message


def _launch(settings: WorkerSettings) -> subprocess.Popen[bytes]:
    """Start the process with the two descriptors it needs and an environment that holds no secrets."""
    environment = {name: os.environ[name] for name in _INHERITED_ENVIRONMENT if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-m", "foveal.media.worker", msgspec.json.encode(settings).decode()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(settings.socket_fd, settings.arena_fd),
        env=environment | _ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        process_group=0,  # Ctrl-C in a terminal is for the server alone, which then closes the socket
    )

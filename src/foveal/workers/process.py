"""One child process as the server sees it: sends to it, receives from it and ends it. Decides nothing about it.

A child sends the first message. What it needs before that is in the settings that it was started with.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

import msgspec

from foveal.workers.frames import HEADER_BYTES, Messages
from foveal.workers.jobs import READY

if TYPE_CHECKING:
    import socket
    import subprocess

T = TypeVar("T")

DYING_S = 1.0  # how long a process may take to end after it closed its connection
POLL_S = 0.002  # how often to check whether an ending process has ended


class Gone(Exception):
    """The process is of no more use: it closed its connection, or it violated the protocol."""


class ChildProcess:
    """`spawn.spawn` starts one; it ends when `end` is called, by itself, or when this process ends."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        self._process = process
        self._connection = connection
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None  # set by the first receive
        self._is_ready = False
        self._has_hung_up = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    async def ready(self) -> None:
        """Wait until a child that answers jobs is ready for the first. Raises Gone."""
        if not self._is_ready:
            await self.receive(READY)
            self._is_ready = True

    async def ask(self, job: bytes, replies: Messages[T]) -> T:
        """The reply to a job; the job is given as a frame. Raises Gone."""
        self.send(job)
        return await self.receive(replies)

    def send(self, frame: bytes) -> None:
        """Send a frame; frames arrive in order. Must not be called before the first `receive`."""
        assert self._streams is not None
        self._streams[1].write(frame)

    async def receive(self, messages: Messages[T]) -> T:
        """The next message. Raises Gone. If this is cancelled, the process must be ended."""
        if self._streams is None:
            self._streams = await asyncio.open_unix_connection(sock=self._connection)
        try:
            header = await self._streams[0].readexactly(HEADER_BYTES)
            return messages.decode(await self._streams[0].readexactly(messages.num_bytes(header)))
        except (EOFError, ConnectionError):
            self._has_hung_up = True
            raise Gone("it closed its connection") from None
        except msgspec.DecodeError as error:
            raise Gone(f"it does not keep to the protocol: {error}") from error

    def kill(self) -> None:
        self._process.kill()

    async def end(self) -> int:
        """Make sure that the process is gone; returns its exit status, negative for a signal."""
        if self._streams is not None:
            self._streams[1].transport.abort()  # which closes the connection
        else:
            self._connection.close()
        if self._has_hung_up:  # killing a process that is ending would hide its exit status
            await self._exit_status(within_s=DYING_S)
        self.kill()
        status = await self._exit_status()
        assert status is not None
        return status

    async def _exit_status(self, within_s: float = float("inf")) -> int | None:
        """The exit status; None if it still runs after that time. Polls, since the loop's threads may all be busy."""
        deadline_s = time.monotonic() + within_s
        while True:
            status = self._process.poll()
            if status is not None or time.monotonic() > deadline_s:
                return status
            await asyncio.sleep(POLL_S)

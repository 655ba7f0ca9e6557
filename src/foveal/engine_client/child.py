"""One engine process as its parent sees it: started, spoken to, ended. Decides nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process, create_subprocess_exec
from contextlib import suppress
from typing import TYPE_CHECKING

from foveal.engine.protocol import Frames, FromEngine, Start, ToEngine, decode_from_engine, frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RECEIVE_BYTES = 1 << 16
# OpenMP's threads spin for milliseconds before they sleep; beside another busy process each then waits for one that
# has no core (benchmarks/two_servers.txt). Whoever sets it keeps what they set.
ENVIRONMENT = {"GOMP_SPINCOUNT": "3000"}
DYING_S = 1.0  # from a process's last word to its death


class Child:
    """`spawn` starts one; it ends when `end` is called, by itself, or when this process ends."""

    def __init__(self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._has_hung_up = False

    @classmethod
    async def spawn(cls, start: Start) -> Child:
        """Start a process that loads what `start` says. It inherits its end of a socket pair and the pixel arena."""
        ours, theirs = socket.socketpair()
        with theirs:
            # -P: the folder that the server was started in is no place to import from
            command = [sys.executable, "-P", "-m", "foveal.engine.process", str(theirs.fileno())]
            inherited = (theirs.fileno(), start.arena_fd)
            process = await create_subprocess_exec(
                *command, stdin=DEVNULL, stdout=DEVNULL, pass_fds=inherited, env=ENVIRONMENT | os.environ
            )
        child = cls(process, *await asyncio.open_unix_connection(sock=ours))
        child.send(start)
        return child

    def send(self, message: ToEngine) -> None:
        self._writer.write(frame(message))

    async def messages(self) -> AsyncIterator[FromEngine]:
        """What the process says, until it is gone."""
        frames = Frames()
        try:
            while received := await self._reader.read(RECEIVE_BYTES):
                for payload in frames.feed(received):
                    yield decode_from_engine(payload)
        except ConnectionError:
            pass
        self._has_hung_up = True

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def end(self) -> int:
        """Make sure that the process is gone; returns its exit status, negative for a signal."""
        self._writer.close()
        if self._has_hung_up:  # killing what is dead already takes its exit status away from the one who waits for it
            with suppress(TimeoutError):
                async with asyncio.timeout(DYING_S):
                    await self._process.wait()
        self.kill()
        return await self._process.wait()

"""Host names -> addresses, asked of the system in a child process, so that a lookup can be ended.

`getaddrinfo` alone knows what the machine knows: /etc/hosts, search domains, the sources of nsswitch.conf. But it can't
be cancelled, and a silent name server holds its thread for half a minute. So the threads are those of a child, which is
replaced when too many hang. Decides nothing about addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from ipaddress import ip_address

from foveal.media.lookups import FOUND, LOOKUPS, Lookup
from foveal.media.tasks import BackgroundTasks
from foveal.workers.process import Gone
from foveal.workers.spawn import ONE_THREAD, Kind, spawn

_IMPATIENT = {"RES_OPTIONS": "timeout:1 attempts:2"}  # resolv.conf(5); a download may take little longer
LOOK_UP = "foveal.media.lookups:serve"
_MAX_ABANDONED = 64  # lookups in a child that nobody waits for any more
_MAX_HOST_CHARS = 253  # of any name (RFC 1035), its last dot left out
_MAX_TRIES = 3  # a child may be replaced, or killed from outside, while a lookup runs


class Resolver:
    """Starts its child with the first name. Any number of lookups run at once; callers bound them.

    `run`, "module:function", is what the child runs. Tests pass another.
    """

    def __init__(self, run: str = LOOK_UP) -> None:
        self._kind = Kind(run, ONE_THREAD | _IMPATIENT)
        self._tasks = BackgroundTasks()
        self._child: _Child | None = None

    async def __call__(self, host: str) -> Sequence[str]:
        """Its addresses, each once; an address is its own. Raises OSError where the name is unknown."""
        with contextlib.suppress(ValueError):
            return [str(ip_address(host))]
        if len(host.removesuffix(".")) > _MAX_HOST_CHARS:
            raise OSError("the name is unknown")
        for _ in range(_MAX_TRIES):
            with contextlib.suppress(Gone):
                return await self._running().look_up(host)
        raise OSError("the process that looks up names has ended")

    @property
    def pid(self) -> int | None:
        """The child's; None before the first name."""
        return None if self._child is None else self._child.pid

    async def close(self) -> None:
        await self._tasks.close()
        if self._child is not None:
            await self._child.end()

    def _running(self) -> _Child:
        if self._child is None or not self._child.is_of_use:
            if self._child is not None:
                self._tasks.start(self._child.end())
            self._child = _Child(self._kind, self._tasks)
        return self._child


class _Child:
    """One process, and the lookups that wait for it."""

    def __init__(self, kind: Kind, tasks: BackgroundTasks) -> None:
        self._process = spawn(kind, b"")
        self._ready = tasks.start(self._process.ready())
        self._waiting: dict[int, asyncio.Future[Sequence[str]]] = {}
        self._num_asked = 0
        self._num_abandoned = 0
        self._has_ended = False
        self._answers = tasks.start(self._receive())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_of_use(self) -> bool:
        return not self._has_ended and self._num_abandoned < _MAX_ABANDONED

    async def look_up(self, host: str) -> Sequence[str]:
        """Raises OSError where the name is unknown, Gone where the process has ended."""
        await asyncio.shield(self._ready)
        number = self._num_asked = self._num_asked + 1
        answer: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._process.send(LOOKUPS.frame(Lookup(number, host)))
            addresses = await answer
        finally:
            if self._waiting.pop(number, None) is not None:
                self._num_abandoned += 1
        if not addresses:
            raise OSError("the name is unknown")
        return addresses

    async def end(self) -> None:
        """Lookups that wait for it raise Gone."""
        self._answers.cancel()
        await self._process.end()

    async def _receive(self) -> None:
        try:
            await asyncio.shield(self._ready)
            while True:
                found = await self._process.receive(FOUND)
                if (answer := self._waiting.pop(found.number, None)) is None:
                    self._num_abandoned -= 1
                elif not answer.done():
                    answer.set_result(found.addresses)
        finally:
            self._has_ended = True
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(Gone())
            self._waiting.clear()

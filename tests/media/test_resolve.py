"""Names to addresses, as the system has them; and what a name costs that nobody answers for."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from foveal.media.resolve import LOOK_UP, Resolver
from tests.media.silent import SILENT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def resolving(run: str = LOOK_UP) -> AsyncIterator[Resolver]:
    resolver = Resolver(run)
    try:
        yield resolver
    finally:
        await resolver.close()


async def test_a_name_has_the_addresses_that_the_system_knows() -> None:
    known = {str(entry[4][0]) for entry in socket.getaddrinfo("localhost", None)}
    async with resolving() as resolver:
        addresses = await resolver("localhost")

    assert set(addresses) == known
    assert len(addresses) == len(known)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "2606:4700::1111"])
async def test_an_address_is_its_own_and_needs_no_process(address: str) -> None:
    async with resolving() as resolver:
        assert await resolver(address) == [address]
        assert resolver.pid is None


@pytest.mark.parametrize("host", ["no-such-name.invalid", "a..b", "a" * 300, "a" * 5000, "b\u00fccher.invalid", ""])
async def test_unknown_names(host: str) -> None:
    async with resolving() as resolver:
        with pytest.raises(OSError, match="the name is unknown"):
            await resolver(host)


async def test_silent_names_delay_no_other() -> None:
    async with resolving(SILENT) as resolver:
        silent = [asyncio.create_task(resolver(f"silent-{i}.test")) for i in range(60)]

        assert await resolver("localhost")
        assert not any(lookup.done() for lookup in silent)
        await cancel(silent)


async def test_a_child_full_of_silent_names_is_replaced() -> None:
    async with resolving(SILENT) as resolver:
        await resolver("localhost")
        first = resolver.pid
        for _ in range(3):
            silent = [asyncio.create_task(resolver(f"silent-{i}.test")) for i in range(40)]
            await resolver("localhost")
            await cancel(silent)
        await resolver("localhost")

        assert resolver.pid != first


async def test_a_lookup_outlives_the_death_of_its_child() -> None:
    async with resolving(SILENT) as resolver:
        await resolver("localhost")
        pid = resolver.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        lookup = asyncio.create_task(resolver("localhost"))
        await asyncio.sleep(0.05)
        os.kill(pid, signal.SIGKILL)

        assert await lookup


async def cancel(lookups: Sequence[asyncio.Task[Any]]) -> None:
    for lookup in lookups:
        lookup.cancel()
    await asyncio.gather(*lookups, return_exceptions=True)

"""Closes what has a `close` that is awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar


class Closable(Protocol):
    async def close(self) -> None: ...


T = TypeVar("T", bound=Closable)


@asynccontextmanager
async def closing(thing: T) -> AsyncIterator[T]:
    try:
        yield thing
    finally:
        await thing.close()

"""A web server on loopback that answers as it is told: late, too much, elsewhere, or not in HTTP at all."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping


@dataclass(frozen=True)
class Page:
    """What a path answers. A body whose length is not stated ends with the connection."""

    body: bytes = b""
    status: int = 200
    headers: tuple[str, ...] = ()
    stated_length: str | None = ""  # of the Content-Length; empty: the true one, None: no such header
    delay_s: float = 0.0  # before the first byte
    gate: asyncio.Event | None = None  # waited for before the first byte
    pause_s: float = 0.0  # after each byte of the body

    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} -", "Connection: close", *self.headers]
        if self.stated_length is not None:
            lines.append(f"Content-Length: {self.stated_length or len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode()


def redirect(location: str, status: int = 302) -> Page:
    return Page(status=status, headers=(f"Location: {location}",))


@dataclass
class Host:
    pages: Mapping[str, Page]
    port: int = 0
    requests: list[str] = field(default_factory=list)  # heads, as they came
    heard: asyncio.Event = field(default_factory=asyncio.Event)  # set with each of them
    answering: set[asyncio.Task[None]] = field(default_factory=set)

    def url(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def asked(self, num_requests: int) -> None:
        """Wait until so many requests have come."""
        while len(self.requests) < num_requests:
            self.heard.clear()
            await self.heard.wait()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answering.add(asyncio.create_task(self._answer(reader, writer)))

    async def close(self) -> None:
        """Cancel what is still being answered."""
        for task in self.answering:
            task.cancel()
        await asyncio.gather(*self.answering, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._send(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head)
            self.heard.set()
            page = self.pages.get(head.split()[1], Page(status=404))
            await asyncio.sleep(page.delay_s)
            if page.gate is not None:
                await page.gate.wait()
            writer.write(page.head())
            await self._send_body(page, writer)

    async def _send_body(self, page: Page, writer: asyncio.StreamWriter) -> None:
        if not page.pause_s:
            writer.write(page.body)
        for byte in page.body if page.pause_s else b"":
            writer.write(bytes([byte]))
            await asyncio.sleep(page.pause_s)
        await writer.drain()


@asynccontextmanager
async def serving(pages: Mapping[str, Page], tls: ssl.SSLContext | None = None) -> AsyncIterator[Host]:
    host = Host(pages)
    server = await asyncio.start_server(host.accept, "127.0.0.1", 0, ssl=tls)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()
        await host.close()

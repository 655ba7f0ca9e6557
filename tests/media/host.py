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

    def url(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head)
            page = self.pages.get(head.split()[1], Page(status=404))
            await asyncio.sleep(page.delay_s)
            writer.write(page.head())
            await self._send_body(page, writer)
        writer.close()

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
    server = await asyncio.start_server(host.answer, "127.0.0.1", 0, ssl=tls)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()

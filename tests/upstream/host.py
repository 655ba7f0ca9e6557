"""Another server on loopback that answers chats as it is told: late, too little, nonsense, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


@dataclass(frozen=True)
class Reply:
    """What one request is answered. `never_ends`: the connection stays open behind the last event."""

    events: Sequence[bytes] = ()
    status: int = 200
    kind: str = "text/event-stream"
    headers: Sequence[str] = ()
    is_silent: bool = False  # not even a status line comes
    is_held: bool = False  # it comes when `may_answer` is set
    never_ends: bool = False
    repeats: bytes = b""  # behind the last event, again and again
    breaks: bool = False  # the body ends before its end

    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} -", f"Content-Type: {self.kind}", "Transfer-Encoding: chunked", *self.headers]
        return "\r\n".join([*lines, "", ""]).encode()


def event(content: object) -> bytes:
    return b"data: " + (content if isinstance(content, bytes) else json.dumps(content).encode()) + b"\n\n"


def said(text: str | None = None, finish: str | None = None, index: int = 0, **delta: object) -> bytes:
    """A chunk as the API's reference shows it."""
    content = {} if text is None else {"content": text}
    choice = {"index": index, "delta": {**content, **delta}, "finish_reason": finish, "logprobs": None}
    return event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def counted(prompt: int, completion: int, cached: int = 0) -> bytes:
    """The last chunk of a stream that was asked for its usage."""
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    return event(
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}
    )


def whole(content: object) -> Reply:
    """An answer that is no stream."""
    return Reply((json.dumps(content).encode(),), kind="application/json")


DONE = event(b"[DONE]")
HELLO = Reply((said("", role="assistant"), said("Hel"), said("lo"), said(finish="stop"), counted(12, 2, 4), DONE))


@dataclass
class OtherServer:
    """Answers each request with the next reply; the last one is for all that follow."""

    replies: Sequence[Reply]
    port: int = 0
    bodies: list[dict[str, object]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)  # a client left during a reply that never ends
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    answering: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answering.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._answer(reader, writer):
                    pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1]) for line in head.lower().splitlines() if line.startswith("content-length")
        )
        self.bodies.append(json.loads(await reader.readexactly(length)))
        self.heads.append(head)
        reply = self.replies[min(len(self.bodies), len(self.replies)) - 1]
        if reply.is_held:
            await self.may_answer.wait()
        if not reply.is_silent:
            writer.write(reply.head())
            for each in reply.events:
                writer.write(b"%x\r\n%b\r\n" % (len(each), each))
        while reply.repeats:
            writer.write(b"%x\r\n%b\r\n" % (len(reply.repeats), reply.repeats))
            await writer.drain()
            await asyncio.sleep(0.001)
        if reply.is_silent or reply.never_ends:
            await reader.read()
            self.hung_up.set()
        if reply.breaks or reply.is_silent or reply.never_ends:
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


@asynccontextmanager
async def other_server(*replies: Reply) -> AsyncIterator[OtherServer]:
    host = OtherServer(replies)
    server = await asyncio.start_server(host.accept, "127.0.0.1", 0)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()
        for task in host.answering:
            task.cancel()
        await asyncio.gather(*host.answering, return_exceptions=True)

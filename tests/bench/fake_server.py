"""A server that answers chat completions at a known pace, and records what it did when.

    python -m tests.bench.fake_server PORT NUM_CHUNKS     as fast as it can, for benchmarks/bench_overhead.py

Plain asyncio, so that it is faster than what is measured with it. Its times are of time.perf_counter, which all
processes of a machine share, so that what it sent can be compared with what a client says it got.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

MODEL = "scripted"
PROBE_TOKENS = 1  # max_tokens of the question that a run begins with


@dataclass(frozen=True)
class Script:
    """How one request is answered."""

    first_s: float = 0.0  # before the first chunk with text
    gap_s: float = 0.0  # before each later one
    num_chunks: int = 4
    completion_tokens: int | None = None  # that usage tells; None: as many as chunks
    cached_tokens: int | None = None
    gives_usage: bool = True
    status: int = 200
    says: str = ""  # instead of an answer
    kind: str = "text/event-stream"
    breaks_after: int | None = None  # chunks; then the connection is closed
    fails_after: int | None = None  # chunks; then the stream says that it failed


@dataclass
class Seen:
    """One chat request, and what became of it."""

    at_s: float
    key: str
    body: dict[str, Any]
    sent_s: list[float] = field(default_factory=list)  # just before each chunk with text was written
    ended_s: float | None = None

    @property
    def is_probe(self) -> bool:
        return bool(self.body["max_tokens"] == PROBE_TOKENS)


@dataclass
class FakeServer:
    """`script_of` says how a chat request is answered; `models` is what GET models answers."""

    script_of: Callable[[Seen], Script] = lambda _: Script()
    models: tuple[int, str] = (200, json.dumps({"object": "list", "data": [{"id": MODEL}, {"id": "another"}]}))
    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    num_connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def asked(self) -> list[Seen]:
        """Without the question that a run begins with."""
        return [each for each in self.seen if not each.is_probe]

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which is kept alive."""
        self.num_connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head.decode("latin-1"), reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request, *lines = head.rstrip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if request.startswith("GET"):
            status, said = self.models
            return _write_whole(writer, status, "application/json", said)
        seen = Seen(time.perf_counter(), headers.get("authorization", ""), json.loads(body))
        self.seen.append(seen)
        script = Script() if seen.is_probe and self.script_of(seen).status == 200 else self.script_of(seen)
        if script.says or script.status != 200:
            return _write_whole(writer, script.status, script.kind, script.says)
        await _stream(writer, script, seen)
        return None


@asynccontextmanager
async def serving(server: FakeServer) -> AsyncIterator[FakeServer]:
    listening = await asyncio.start_server(server.converse, "127.0.0.1", server.port, limit=1 << 24)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


async def _stream(writer: asyncio.StreamWriter, script: Script, seen: Seen) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    _write_event(writer, _chunk({"role": "assistant", "content": ""}))
    for number in range(script.num_chunks):
        await asyncio.sleep(script.gap_s if number else script.first_s)
        if number == script.breaks_after:
            return writer.close()
        if number == script.fails_after:
            _write_event(writer, {"error": {"message": "the engine died", "type": "error"}})
            break
        seen.sent_s.append(time.perf_counter())
        _write_event(writer, _chunk({"content": f"word{number} "}))
        await writer.drain()
    else:
        _write_event(writer, _chunk({}, "length"))
        if script.gives_usage and "stream_options" in seen.body:
            _write_event(writer, {"choices": [], "usage": _usage(script)})
        _write_data(writer, b"data: [DONE]\n\n")
    seen.ended_s = time.perf_counter()
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return None


def _usage(script: Script) -> dict[str, object]:
    generated = script.num_chunks if script.completion_tokens is None else script.completion_tokens
    usage: dict[str, object] = {"prompt_tokens": 100, "completion_tokens": generated, "total_tokens": 100 + generated}
    if script.cached_tokens is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": script.cached_tokens}
    return usage


def _chunk(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}


def _write_event(writer: asyncio.StreamWriter, payload: dict[str, object]) -> None:
    _write_data(writer, b"data: " + json.dumps(payload).encode() + b"\n\n")


def _write_data(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


def _write_whole(writer: asyncio.StreamWriter, status: int, kind: str, said: str) -> None:
    head = f"HTTP/1.1 {status} Said\r\ncontent-type: {kind}\r\ncontent-length: {len(said.encode())}\r\n\r\n"
    writer.write(head.encode() + said.encode())


async def _serve(port: int, num_chunks: int) -> None:
    async with serving(FakeServer(lambda _: Script(num_chunks=num_chunks), port=port)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))

"""What one client does to a server in benchmarks/abuse.py: each attack goes on until it is stopped.

They run in a process of their own, so that what they cost the attacker does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import os
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from multiprocessing.synchronize import Event

MODEL = "foveal-mini"
GRAMMAR = 'start: s\ns: s s | s s s | "a%d" | "b" | /[a-z]/ | ""'  # each text has very many derivations
SIDE = 7071  # 50 million pixels, the most that is accepted; 34 bytes as WebP
BODY_BYTES = 9_900_000
HANG_UP_S = 0.5
_numbers = itertools.count()


class Attacker:
    """One client with a key, which may open connections by hand."""

    def __init__(self, url: str, key: str) -> None:
        self.port = urlsplit(url).port
        self.key = key

    async def connect(self, body: bytes, num_sent: int | None = None, key: str = "") -> asyncio.StreamWriter:
        """A connection on which a chat completion was begun; `num_sent` bytes of its body were sent."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 12)
        head = [
            "POST /v1/chat/completions HTTP/1.1",
            "host: localhost",
            f"authorization: Bearer {key or self.key}",
            "content-type: application/json",
            f"content-length: {len(body)}",
        ]
        writer.write("\r\n".join([*head, "", ""]).encode() + body[:num_sent])
        await writer.drain()
        return writer

    async def ask(self, body: bytes, within_s: float = 60.0) -> None:
        """Sends a body, waits for its answer, and reads it; hangs up when the time is over."""
        writer = None
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(within_s):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {self.key}\r\n"
                head += f"content-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await reader.read()
        if writer:
            writer.transport.abort()


def chat(content: object, **fields: Any) -> bytes:
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": content}], **fields}).encode()


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


async def again(num_at_once: int, ask: Callable[[], Awaitable[None]]) -> None:
    """So many at once, each again when it has ended, until this is cancelled."""

    async def one() -> None:
        while True:
            await ask()
            await asyncio.sleep(0.01)  # refused at once, it would be a flood

    await asyncio.gather(*(one() for _ in range(num_at_once)))


async def ambiguous_grammar(attacker: Attacker) -> None:
    def guided() -> bytes:
        grammar = GRAMMAR % next(_numbers)  # one that no cache has
        return chat("Letters", response_format={"type": "grammar", "grammar": grammar}, max_tokens=500)

    await again(8, lambda: attacker.ask(guided()))


async def large_pictures(attacker: Attacker) -> None:
    encoded = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), "white").save(encoded, "WEBP", lossless=True)

    def four() -> bytes:
        files = [encoded.getvalue() + next(_numbers).to_bytes(4, "big") for _ in range(4)]
        return chat([picture("data:image/webp;base64," + b64encode(file).decode()) for file in files])

    await again(50, lambda: attacker.ask(four(), within_s=HANG_UP_S))


async def unknown_names(attacker: Attacker) -> None:
    def thirty() -> bytes:
        return chat([picture(f"http://n{next(_numbers)}.invalid/a.png") for _ in range(30)])

    await again(8, lambda: attacker.ask(thirty()))


async def long_prompts(attacker: Attacker) -> None:
    text = "ab cd ef! " * (BODY_BYTES // 10)
    await again(7, lambda: attacker.ask(chat(text)))


async def many_parts(attacker: Attacker) -> None:
    body = chat([{"type": "text", "text": "a"}] * 99_000)
    unknown = chat("a", **{f"u{i}": 0 for i in range(295_000)})
    bodies = itertools.cycle([body, unknown])
    await again(4, lambda: attacker.ask(next(bodies)))


async def half_sent_bodies(attacker: Attacker) -> None:
    body = chat("a" * BODY_BYTES)
    open_ = [await attacker.connect(body, len(body) // 2) for _ in range(20)]
    open_ += [await attacker.connect(body, 0) for _ in range(80)]
    await asyncio.sleep(3600)


async def dripping_bodies(attacker: Attacker) -> None:
    """Of requests that were refused because of their key."""
    open_ = [await attacker.connect(b" " * BODY_BYTES, 0, key="wrong") for _ in range(400)]
    while True:
        for writer in open_:
            with contextlib.suppress(ConnectionError):
                writer.write(b" ")
        await asyncio.sleep(0.1)


async def unread_streams(attacker: Attacker) -> None:
    """Their answers are large: eight of each, with logprobs."""
    fields = {"stream": True, "n": 8, "logprobs": True, "top_logprobs": 5, "max_tokens": 4000, "ignore_eos": True}
    open_ = [await attacker.connect(chat(f"On and on, {i}", **fields)) for i in range(40)]
    for writer in open_:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(3600)


ATTACKS: dict[str, Callable[[Attacker], Coroutine[Any, Any, None]]] = {
    "A1 ambiguous grammars": ambiguous_grammar,
    "A2 large pictures, hung up": large_pictures,
    "A3 unknown host names": unknown_names,
    "A4 prompts of 9.9 MB": long_prompts,
    "A5 99,000 parts, 295,000 fields": many_parts,
    "A6 half-sent bodies": half_sent_bodies,
    "A7 dripping refused bodies": dripping_bodies,
    "A8 unread streams": unread_streams,
}


def attack(name: str, url: str, key: str, begins: Event) -> None:
    """Runs in a process of its own, which yields its core to the server: an attacker has a machine of its own."""
    os.nice(19)
    begins.set()
    asyncio.run(ATTACKS[name](Attacker(url, key)))

"""Asks another server, again where it is dead or overloaded, until the first piece of its answer has come.

From then on a failure is the answer's. What the other server says of a failure goes to the log; a client gets a
sentence of ours, or, where the request is to blame, the other server's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import httpx
import msgspec

from foveal.errors import CLOSED, CutOff, Draining, GenerationFailed, InvalidRequest, Overloaded, RequestError
from foveal.upstream.stream import BadStream, Chunk, chunks

if TYPE_CHECKING:
    from foveal.config import UpstreamConfig

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.25  # before a second try; twice as long before each further one
MAX_PAUSE_S = 5.0  # a server that asks for more patience is left alone, and the client is told
MAX_REFUSAL_BYTES = 64 * 1024
MAX_REPLY_BYTES = 16 * 1024 * 1024
MAX_SENTENCE_CHARS = 500
WRITE_TIMEOUT_S = 30.0
OF_THE_REQUEST = (400, 413, 422)
OVERLOADED = (429, 502, 503, 504)
BROKEN_OFF = "The server behind this model broke off its answer; ask again."


class Failed(Exception):
    """A try failed before the first piece. `wait_s`: how long the other server wants to be left alone."""

    def __init__(self, why: str, told: RequestError, *, may_retry: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.told = told
        self.may_retry = may_retry and wait_s <= MAX_PAUSE_S
        self.wait_s = wait_s


class Upstream:
    """The server behind one model."""

    def __init__(self, config: UpstreamConfig) -> None:
        self._config = config
        self._closed = asyncio.Event()
        self._base = config.base_url.rstrip("/")
        self._http = httpx.AsyncClient(
            headers={"authorization": f"Bearer {config.api_key}"} if config.api_key else {},
            timeout=httpx.Timeout(WRITE_TIMEOUT_S, connect=config.connect_timeout_s, read=None, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
            trust_env=False,  # a proxy would see what clients send
        )

    async def close(self) -> None:
        """Hang up. Requests in flight fail with CutOff, or with Draining before their first piece."""
        self._closed.set()
        await self._http.aclose()

    async def ask(self, path: str, body: bytes) -> bytes:
        """What a route beside the API's own answers at once. Raises RequestError."""
        url = self._base.removesuffix("/v1") + path
        if self._closed.is_set():
            raise Draining(CLOSED)
        try:
            async with asyncio.timeout(self._config.first_token_timeout_s):
                response = await self._send(url, body)
                async with aclosing(response):
                    await _check(response, "application/json")
                    return await _bounded(response, MAX_REPLY_BYTES)
        except Failed as failed:
            told, why = failed.told, str(failed)
        except (TimeoutError, httpx.TransportError) as error:
            told, why = _busy("cannot be reached"), repr(error)
        if self._closed.is_set():
            raise Draining(CLOSED)
        log.warning("%s: %s", _shown(url), why)
        raise told

    @asynccontextmanager
    async def stream(self, path: str, body: bytes) -> AsyncIterator[AsyncIterator[Chunk]]:
        """The chunks of an answer whose first piece is there. Leaving hangs up, which ends the other server's work.

        Entering raises RequestError; the chunks raise GenerationFailed.
        """
        url = self._base + path
        num_left, pause_s = self._config.num_retries, FIRST_PAUSE_S
        while True:
            if self._closed.is_set():
                raise Draining(CLOSED)
            async with AsyncExitStack() as trying:
                try:
                    answer = await self._begun(url, body, trying)
                except Failed as failed:
                    if self._closed.is_set():
                        raise Draining(CLOSED) from None
                    log.warning("%s: %s", _shown(url), failed)
                    if not (failed.may_retry and num_left):
                        raise failed.told from None
                    wait_s = max(pause_s, failed.wait_s)
                else:
                    yield answer
                    return
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._closed.wait()
            num_left, pause_s = num_left - 1, min(2 * pause_s, MAX_PAUSE_S)

    async def _begun(self, url: str, body: bytes, trying: AsyncExitStack) -> AsyncIterator[Chunk]:
        """One try. Raises Failed."""
        limit_s = self._config.first_token_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                response = await self._send(url, body)
                trying.push_async_callback(response.aclose)
                await _check(response, "text/event-stream")
                found = await trying.enter_async_context(aclosing(chunks(response.aiter_raw())))
                first = await _first_piece(found)
        except TimeoutError:
            raise Failed(f"no answer within {limit_s:g} s", _busy("did not begin to answer in time")) from None
        except httpx.TransportError as error:
            raise Failed(repr(error), _busy("cannot be reached"), may_retry=True) from None
        except BadStream as bad:
            raise Failed(str(bad), broken()) from None
        if first is None:
            raise Failed("an answer without anything", broken(), may_retry=True)
        return self._rest(url, first, found)

    async def _send(self, url: str, body: bytes) -> httpx.Response:
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        request = self._http.build_request("POST", url, content=body, headers=headers)
        return await self._http.send(request, stream=True)

    async def _rest(self, url: str, first: Chunk, found: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
        yield first
        left_s = self._config.token_timeout_s
        try:
            while True:
                began_s = time.monotonic()
                async with asyncio.timeout(left_s):
                    chunk = await anext(found)
                left_s -= time.monotonic() - began_s
                if chunk.says_something:
                    left_s = self._config.token_timeout_s
                yield chunk
        except StopAsyncIteration:
            return
        except (TimeoutError, httpx.TransportError, BadStream) as error:
            if self._closed.is_set():
                raise CutOff(CLOSED) from None
            log.warning("%s broke off an answer: %r", _shown(url), error)
            raise GenerationFailed(BROKEN_OFF) from None


def _shown(url: str) -> str:
    """For the log: it may have a user and a password."""
    return str(httpx.URL(url).copy_with(userinfo=b""))


async def _first_piece(found: AsyncIterator[Chunk]) -> Chunk | None:
    """The first chunk with a piece of the answer. Those before it are not kept: nothing bounds their number."""
    async for chunk in found:
        if chunk.says_something:
            return chunk
    return None


async def _check(response: httpx.Response, wanted: str) -> None:
    """Raises Failed unless a body of the `wanted` type begins."""
    status, kind = response.status_code, response.headers.get("content-type", "")
    if status == 200 and kind.startswith(wanted):
        return
    said = await _bounded(response, MAX_REFUSAL_BYTES)
    why = f"status {status}, {kind}: {said[:MAX_SENTENCE_CHARS].decode('utf-8', 'replace')}"
    if status in OF_THE_REQUEST:
        raise Failed(why, InvalidRequest(_sentence(said)))
    if status in OVERLOADED:
        wait_s = _retry_after_s(response)
        raise Failed(why, _busy("is overloaded", wait_s), may_retry=True, wait_s=wait_s)
    raise Failed(why, broken())


async def _bounded(response: httpx.Response, most: int) -> bytes:
    """The body as it comes: packed, against our wish, a little of it may be much."""
    said = bytearray()
    async for piece in response.aiter_raw():
        said += piece
        if len(said) > most:
            break
    return bytes(said)


class _Message(msgspec.Struct):
    message: str = ""


class _Refusal(msgspec.Struct):
    error: _Message | str | None = None
    message: str | None = None  # of older servers


def _sentence(said: bytes) -> str:
    """What a refusal says to the person who asked."""
    try:
        refusal = msgspec.json.decode(said, type=_Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        refusal = _Refusal()
    error = refusal.error
    found = (error.message if isinstance(error, _Message) else error) or refusal.message
    return f"The server behind this model refused the request: {(found or 'it does not say why')[:MAX_SENTENCE_CHARS]}"


def _retry_after_s(response: httpx.Response) -> float:
    stated = response.headers.get("retry-after", "")
    return float(stated) if stated.isdecimal() and len(stated) < 6 else 0.0


def _busy(what: str, wait_s: float = 0.0) -> Overloaded:
    told = Overloaded(f"The server behind this model {what}; ask again soon.")
    told.retry_after_s = max(1, round(wait_s))
    return told


def broken() -> GenerationFailed:
    return GenerationFailed(
        "The server behind this model does not answer as it should; its operator finds why in the log."
    )

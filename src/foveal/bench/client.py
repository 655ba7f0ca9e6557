"""One request over HTTP, from its sending to the last byte of its answer.

While an answer arrives, its bytes are only stored with their times. They are parsed after its end (timing), so that
parsing one answer delays no other.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from foveal.bench import wire
from foveal.bench.timing import answer_of

if TYPE_CHECKING:
    from foveal.bench.clock import Clock
    from foveal.bench.records import Answer, Conversation, Request, Server, Workload

KEEPALIVE_S = 3.0  # a connection that idled longer is not used again: servers close theirs after five
PATH = "chat/completions"


def open_client(server: Server, timeout_s: float) -> httpx.AsyncClient:
    """A client with HTTP/1.1, no proxy from the environment, and a connection for each running request."""
    headers = {"accept-encoding": "identity"}
    if server.key:
        headers["authorization"] = f"Bearer {server.key}"
    return httpx.AsyncClient(
        base_url=server.url,
        headers=headers,
        timeout=timeout_s,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_S),
        trust_env=False,
    )


@dataclass(frozen=True, slots=True)
class Asker:
    """Sends a workload's requests to one server."""

    client: httpx.AsyncClient
    server: Server
    workload: Workload
    clock: Clock

    async def ask(
        self, request: Request, conversation: Conversation, answers: tuple[str, ...], start_s: float | None
    ) -> Answer:
        """Times count from `start_s`, or from sending. A server's errors are in the answer, and not raised."""
        body = wire.chat_body(self.workload, self.server.model, conversation, answers)
        return await send(self.client, request, body, self.clock, self.workload.timeout_s, start_s)


async def send(
    client: httpx.AsyncClient,
    request: Request,
    body: bytes,
    clock: Clock,
    timeout_s: float,
    start_s: float | None = None,
) -> Answer:
    reads: list[wire.Read] = []
    status: int | None = None
    error: str | None = None
    sent_s = clock.now()
    try:
        async with (
            asyncio.timeout(timeout_s),
            client.stream("POST", PATH, content=body, headers={"content-type": "application/json"}) as response,
        ):
            status = response.status_code
            error = await _refusal(response)
            if error is None:
                async for data in response.aiter_raw():
                    reads.append(wire.Read(clock.now(), data))  # noqa: PERF401 keeps what came before an error
    except TimeoutError:
        error = f"not at its end after {timeout_s:g} s"
    except httpx.HTTPError as problem:
        error = words(problem)
    return answer_of(request, sent_s if start_s is None else start_s, sent_s, clock.now(), reads, status, error)


async def _refusal(response: httpx.Response) -> str | None:
    """The error in words, if the answer is not a stream of events."""
    if response.status_code != httpx.codes.OK:
        return f"{response.status_code} {wire.words_of(await response.aread())}"
    kind = response.headers.get("content-type", "")
    if not kind.startswith("text/event-stream"):
        return f"answered with {kind or 'no content type'} and not with a stream of events"
    return None


def words(problem: httpx.HTTPError) -> str:
    """A connection error in words. The same kind of error gives the same words."""
    if isinstance(problem, httpx.TimeoutException):
        return "no byte for too long"
    if isinstance(problem, httpx.ConnectError):
        return f"no connection: {problem}"
    return f"the connection broke: {problem or type(problem).__name__}"

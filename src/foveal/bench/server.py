"""Checks before a run: a server answers, speaks the dialect, has the model. Each failure is an error of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import msgspec

from foveal.bench import wire
from foveal.bench.client import open_client, send
from foveal.bench.errors import BenchError, KeyRefused, NotAnOpenAIServer, Refused, ServerNotThere, UnknownModel
from foveal.bench.records import Conversation, Request, Server, Workload
from foveal.errors import ConfigError

if TYPE_CHECKING:
    from foveal.bench.clock import Clock
    from foveal.bench.records import Sample

TIMEOUT_S = 60.0  # until the first answer; a server that loads its model answers 503 at once or is not listening
PROBE = Conversation(0, (), ("Say hello.",))
MAX_NAMES = 5
SHORT = 40  # characters of a body that is shown


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


async def find(url: str, model: str | None, key: str, clock: Clock) -> Server:
    """The server with the model to ask: the first that it lists, unless one is named.

    It has to answer a short question as a stream. Raises BenchError.
    """
    server = Server(api_url(url), model or "", key)
    async with open_client(server, TIMEOUT_S) as client:
        listed = await _list_models(client, server)
        if model is None and not listed:
            raise NotAnOpenAIServer(f"{server.url}/models lists no model; name one with --model")
        server = replace(server, model=model or listed[0])
        await _probe(client, server, listed, clock)
    return server


def api_url(url: str) -> str:
    """The URL with /v1, and http:// by default. A URL with credentials is refused, since it is shown and stored."""
    try:
        parsed = httpx.URL(url if "://" in url else f"http://{url}")
    except httpx.InvalidURL as error:
        raise ConfigError(f"{url!r} is no URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(f"{url!r} is no http or https URL, such as http://127.0.0.1:8000")
    if parsed.userinfo:
        raise ConfigError("a name or password in the URL would be shown; use --api-key")
    path = parsed.path.rstrip("/").removesuffix("/chat/completions")
    return str(parsed.copy_with(path=path if path.endswith("/v1") else f"{path}/v1", query=None, fragment=None))


async def _list_models(client: httpx.AsyncClient, server: Server) -> list[str]:
    """The ids that the server lists. Empty if a model is named and the server has no list."""
    try:
        response = await client.get("models")
    except httpx.HTTPError as error:
        raise ServerNotThere(f"nothing answers at {server.url} ({_why(error)}); is the server running?") from None
    _check_key(response.status_code, response.content, server)
    try:
        return [model.id for model in msgspec.json.decode(response.content, type=_Models).data]
    except msgspec.DecodeError:
        if server.model and response.status_code in (404, 405):
            return []
        said = f"{response.status_code} {wire.words_of(response.content)[:SHORT]}".strip()
        raise NotAnOpenAIServer(
            f"{server.url}/models is answered, but not as OpenAI's API does ({said}); is the URL right?"
        ) from None


async def _probe(client: httpx.AsyncClient, server: Server, listed: list[str], clock: Clock) -> None:
    body = wire.chat_body(Workload(max_tokens=1, asks_usage=False), server.model, PROBE, ())
    sample = (await send(client, Request(0, 1, 0), body, clock, TIMEOUT_S)).sample
    if sample.error is None:
        return
    _check_key(sample.status, sample.error.encode(), server)
    raise _what_is_wrong(sample, sample.error, server, listed)


def _what_is_wrong(sample: Sample, error: str, server: Server, listed: list[str]) -> BenchError:
    if sample.status == httpx.codes.NOT_FOUND and listed and server.model not in listed:
        more = ", ..." if len(listed) > MAX_NAMES else ""
        names = ", ".join(listed[:MAX_NAMES]) + more
        return UnknownModel(f"{server.url} does not serve {server.model!r}; it serves {names}")
    if sample.status in (404, 405, 200):
        return NotAnOpenAIServer(f"{server.url}/chat/completions does not answer as OpenAI's API does: {error}")
    return Refused(f"{server.url} refuses a short question: {error}")


def _check_key(status: int | None, said: bytes, server: Server) -> None:
    if status in (401, 403):
        advice = "refuses the key" if server.key else "wants a key (--api-key, or FOVEAL_BENCH_KEY in the environment)"
        raise KeyRefused(f"{server.url} {advice}: {wire.words_of(said)}")


def _why(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__

"""What comes of another server that is slow, dead, overloaded, wrong, or that stops halfway."""

from __future__ import annotations

import asyncio
import gzip
import socket
from typing import TYPE_CHECKING

import pytest

from foveal.config import UpstreamConfig
from foveal.errors import Draining, GenerationFailed, InvalidRequest, Overloaded, RequestError
from foveal.upstream import client
from foveal.upstream.client import Upstream
from tests.accounting.builders import until
from tests.upstream.host import DONE, HELLO, Reply, event, other_server, said

if TYPE_CHECKING:
    from foveal.upstream.stream import Chunk

SHORT_S = 0.05  # a limit that a server which says nothing exceeds; no limit that one which answers could


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE_S", 0.001)


async def ask(config: UpstreamConfig) -> list[Chunk]:
    upstream = Upstream(config)
    try:
        async with upstream.stream("/chat/completions", b"{}") as chunks:
            return [chunk async for chunk in chunks]
    finally:
        await upstream.close()


def text_of(chunks: list[Chunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def asked_of(*replies: Reply, **settings: object) -> tuple[list[Chunk] | RequestError, int]:
    """The chunks or the error, and how often the other server was asked."""

    async def scene() -> tuple[list[Chunk] | RequestError, int]:
        async with other_server(*replies) as host:
            try:
                found: list[Chunk] | RequestError = await ask(UpstreamConfig(host.url, **settings))  # type: ignore[arg-type]
            except RequestError as error:
                found = error
            return found, len(host.bodies)

    return asyncio.run(scene())


def test_a_whole_stream_with_its_usage() -> None:
    found, num_asked = asked_of(HELLO)

    assert isinstance(found, list)
    assert text_of(found) == "Hello"
    assert found[-1].usage is not None
    assert num_asked == 1


def test_chunks_before_the_first_piece_are_not_kept() -> None:
    found, _ = asked_of(Reply((*[said("", role="assistant")] * 1000, said("Hello", "stop"), DONE)))

    assert isinstance(found, list)
    assert text_of(found) == "Hello"
    assert len(found) == 1


REFUSED = Reply((b'{"error": {"message": "n is too large", "code": 1}}',), 400, "application/json")
BUSY = Reply((b"come back",), 429, "text/plain")
PACKED = ("Content-Encoding: gzip",)  # which nobody asked for: a little of it may be much


@pytest.mark.parametrize(
    "first", [BUSY, Reply((), 503), Reply((), 502), Reply((said("", role="assistant"),), breaks=True)]
)
def test_it_is_asked_again_where_another_try_may_help(first: Reply) -> None:
    found, num_asked = asked_of(first, first, HELLO)

    assert isinstance(found, list)
    assert text_of(found) == "Hello"
    assert num_asked == 3


@pytest.mark.parametrize(
    ("reply", "kind", "part", "num_asked"),
    [
        (BUSY, Overloaded, "is overloaded", 3),
        (Reply((), 503), Overloaded, "is overloaded", 3),
        (Reply((DONE,)), GenerationFailed, "does not answer as it should", 3),
        (REFUSED, InvalidRequest, "refused the request: n is too large", 1),
        (Reply((b"<p>no",), 422, "text/html"), InvalidRequest, "it does not say why", 1),
        (Reply((b'{"why": ' + b"[" * 5000,), 400, "application/json"), InvalidRequest, "it does not say why", 1),
        (Reply((b"wrong key sk-secret",), 401, "text/plain"), GenerationFailed, "does not answer as it should", 1),
        (Reply((), 302, headers=("Location: http://127.0.0.1:1/",)), GenerationFailed, "does not answer", 1),
        (Reply((b'{"choices": []}',), 200, "application/json"), GenerationFailed, "does not answer", 1),
        (Reply((event(b"{half"),)), GenerationFailed, "does not answer as it should", 1),
        (Reply((event({"choices": "many"}),)), GenerationFailed, "does not answer as it should", 1),
        (Reply((event({"error": {"message": "out of memory"}}),)), GenerationFailed, "does not answer", 1),
        (Reply((b"data: " + b"x" * (2 << 20),)), GenerationFailed, "does not answer as it should", 1),
        (Reply((b"no gzip",), headers=PACKED), GenerationFailed, "does not answer as it should", 3),
        (Reply((gzip.compress(said("Hello", "stop")),), headers=PACKED), GenerationFailed, "does not answer", 3),
        (Reply((b"no gzip",), 503, headers=PACKED), Overloaded, "is overloaded", 3),
    ],
)
def test_what_a_client_is_told(reply: Reply, kind: type[RequestError], part: str, num_asked: int) -> None:
    found, times = asked_of(reply)

    assert type(found) is kind
    assert part in found.message
    assert "secret" not in found.message
    assert times == num_asked


def test_one_that_asks_for_much_patience_is_left_alone_and_the_client_told() -> None:
    found, num_asked = asked_of(Reply((), 429, headers=("Retry-After: 30",)))

    assert isinstance(found, Overloaded)
    assert found.retry_after_s == 30
    assert num_asked == 1


def test_one_that_says_nothing_is_not_asked_twice() -> None:
    found, num_asked = asked_of(Reply(is_silent=True), first_token_timeout_s=SHORT_S)

    assert isinstance(found, Overloaded)
    assert "did not begin to answer in time" in found.message
    assert num_asked == 1


def test_a_dead_one_cannot_be_reached() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(Overloaded, match="cannot be reached"):
            asyncio.run(ask(UpstreamConfig(url)))


@pytest.mark.parametrize(
    ("reply", "settings"),
    [
        (Reply((said("Hel"),), breaks=True), {}),
        (Reply((said("Hel"), event(b"nonsense"))), {}),
        (Reply((said("Hel"),), never_ends=True), {"token_timeout_s": SHORT_S}),
        (Reply((said("Hel"),), repeats=event({})), {"token_timeout_s": SHORT_S}),
    ],
)
def test_what_breaks_after_the_first_piece_is_not_asked_again(reply: Reply, settings: dict[str, float]) -> None:
    found, num_asked = asked_of(reply, HELLO, **settings)

    assert isinstance(found, GenerationFailed)
    assert "broke off its answer" in found.message
    assert num_asked == 1


def test_leaving_hangs_up() -> None:
    async def scene() -> None:
        async with other_server(Reply((said("Hel"),), never_ends=True)) as host:
            upstream = Upstream(UpstreamConfig(host.url))
            async with upstream.stream("/chat/completions", b"{}") as chunks:
                await anext(chunks)
            async with asyncio.timeout(60):
                await host.hung_up.wait()
            await upstream.close()

    asyncio.run(scene())


def test_who_waits_for_another_try_is_told_at_once_that_this_server_stops(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE_S", 600.0)

    async def scene() -> None:
        async with other_server(BUSY) as host:
            upstream = Upstream(UpstreamConfig(host.url))
            asking = asyncio.create_task(upstream.stream("/chat/completions", b"{}").__aenter__())
            await until(lambda: "status 429" in caplog.text)
            await upstream.close()
            with pytest.raises(Draining):
                async with asyncio.timeout(60):
                    await asking

    asyncio.run(scene())


def test_a_question_after_the_end_is_told_that_this_server_stops() -> None:
    async def scene() -> None:
        upstream = Upstream(UpstreamConfig("http://127.0.0.1:9/v1"))
        await upstream.close()
        with pytest.raises(Draining):
            await upstream.ask("/tokenize", b"{}")

    asyncio.run(scene())


def test_the_key_goes_to_the_other_server_alone_and_is_not_shown() -> None:
    async def scene() -> str:
        async with other_server(HELLO) as host:
            await ask(UpstreamConfig(host.url, api_key="sk-theirs"))
            return host.heads[0]

    head = asyncio.run(scene())
    assert head.startswith("POST /v1/chat/completions ")
    assert "authorization: bearer sk-theirs" in head.lower()
    assert "sk-theirs" not in repr(UpstreamConfig("http://x", "sk-theirs"))


def test_a_password_in_the_address_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> list[str]:
        async with other_server(BUSY, Reply((said("Hel"),), breaks=True), BUSY) as host:
            upstream = Upstream(UpstreamConfig(host.url.replace("://", "://me:sk-secret@"), num_retries=1))
            with pytest.raises(GenerationFailed):
                async with upstream.stream("/chat/completions", b"{}") as chunks:
                    _ = [chunk async for chunk in chunks]
            with pytest.raises(Overloaded):
                await upstream.ask("/tokenize", b"{}")
            await upstream.close()
            return host.heads

    heads = asyncio.run(scene())
    assert all("authorization: basic " in head.lower() for head in heads)
    assert "/chat/completions: status 429" in caplog.text
    assert "broke off" in caplog.text
    assert "/tokenize: status 429" in caplog.text
    assert "sk-secret" not in caplog.text

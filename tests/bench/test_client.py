"""One request, over a scripted transport with a clock of its own, and over real sockets."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import httpx
import pytest

from foveal.bench import timing, wire
from foveal.bench.client import open_client, send
from foveal.bench.clock import MonotonicClock
from foveal.bench.records import Answer, Conversation, Request, Server, Workload
from tests.bench.builders import FakeClock
from tests.bench.fake_server import FakeServer, Script, serving

pytestmark = pytest.mark.anyio
BODY = wire.chat_body(Workload(), "scripted", Conversation(0, (), ("What?",)), ())
REQUEST = Request(0, 1, 0)
TEXT = b'data: {"choices": [{"delta": {"content": "word "}}]}\n\n'
FINISH = b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\n'


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Paced(httpx.AsyncByteStream):
    """First a pause, then chunks with gaps, by the clock that is measured with."""

    def __init__(self, clock: FakeClock, first_s: float, gap_s: float, num_chunks: int) -> None:
        self._clock = clock
        self._pauses_s = [first_s, *[gap_s] * (num_chunks - 1)]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for pause_s in self._pauses_s:
            await self._clock.sleep(pause_s)
            yield TEXT
        yield FINISH


async def test_times_are_those_of_the_script() -> None:
    clock = FakeClock()
    paced = Paced(clock, first_s=0.5, gap_s=0.125, num_chunks=4)
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=paced)
    )
    async with httpx.AsyncClient(base_url="http://server/v1", transport=transport) as client:
        sample = (await send(client, REQUEST, BODY, clock, 60)).sample
    assert timing.ttft_s(sample) == 0.5
    assert timing.gaps_s(sample) == [0.125] * 3
    assert timing.tpot_s(sample) == 0.125
    assert timing.e2e_s(sample) == 0.875


async def asked(server: FakeServer, timeout_s: float = 60.0, num_requests: int = 1) -> list[Answer]:
    clock = MonotonicClock()
    async with serving(server), open_client(Server(server.url + "/v1", "scripted", "sk-key"), timeout_s) as client:
        return [await send(client, REQUEST, BODY, clock, timeout_s) for _ in range(num_requests)]


async def test_nothing_is_seen_before_it_was_sent() -> None:
    """Over sockets only causes and their order are certain, whatever else the machine does."""
    server = FakeServer(lambda _: Script(first_s=0.05, gap_s=0.01, num_chunks=6, cached_tokens=40))
    before_s = time.perf_counter()
    (answer,) = await asked(server)
    (seen,), sample = server.seen, answer.sample
    assert before_s <= sample.sent_s <= seen.at_s
    assert len(sample.chunks_s) == len(seen.sent_s) == 6
    assert all(sent_s <= got_s for sent_s, got_s in zip(seen.sent_s, sample.chunks_s, strict=True))
    first_s = timing.ttft_s(sample)
    assert first_s is not None
    assert first_s >= 0.05
    assert timing.e2e_s(sample) >= 0.05 + 5 * 0.01
    assert (sample.completion_tokens, sample.prompt_tokens, sample.cached_tokens) == (6, 100, 40)
    assert answer.text == "".join(f"word{number} " for number in range(6))
    assert seen.key == "Bearer sk-key"


async def test_a_connection_is_used_again() -> None:
    server = FakeServer()
    answers = await asked(server, num_requests=3)
    assert [answer.sample.error for answer in answers] == [None] * 3
    assert server.num_connections == 1


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (Script(status=503, says='{"error": {"message": "busy"}}'), "503 busy"),
        (
            Script(says='{"choices": []}', kind="application/json"),
            "answered with application/json and not with a stream of events",
        ),
        (Script(fails_after=2), "in the stream: the engine died"),
    ],
    ids=["refused", "not streamed", "failed in the stream"],
)
async def test_what_the_server_does_wrong_is_in_the_sample(script: Script, error: str) -> None:
    (answer,) = await asked(FakeServer(lambda _: script))
    assert answer.sample.error == error


async def test_a_connection_that_breaks_keeps_what_came_before() -> None:
    (answer,) = await asked(FakeServer(lambda _: Script(breaks_after=2)))
    assert answer.sample.error is not None
    assert answer.sample.error.startswith("the connection broke")
    assert len(answer.sample.chunks_s) == 2


async def test_a_request_may_take_only_so_long() -> None:
    (answer,) = await asked(FakeServer(lambda _: Script(first_s=30.0)), timeout_s=0.2)
    assert answer.sample.error == "not at its end after 0.2 s"


async def test_nobody_listening_is_no_connection() -> None:
    async with open_client(Server("http://127.0.0.1:9/v1", "any"), 5) as client:
        sample = (await send(client, REQUEST, BODY, MonotonicClock(), 5)).sample
    assert sample.status is None
    assert sample.error is not None
    assert sample.error.startswith("no connection")

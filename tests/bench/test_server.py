"""Errors before a run begins, each with a message that tells what to do."""

from __future__ import annotations

import pytest

from foveal.bench.clock import MonotonicClock
from foveal.bench.errors import BenchError, KeyRefused, NotAnOpenAIServer, Refused, ServerNotThere, UnknownModel
from foveal.bench.server import api_url, find
from foveal.errors import ConfigError
from tests.bench.fake_server import MODEL, FakeServer, Script, serving

pytestmark = pytest.mark.anyio
NOT_FOUND = Script(status=404, says='{"error": {"message": "no such model"}}', kind="application/json")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
        ("localhost:8000", "http://localhost:8000/v1"),
        ("https://api.example.com/inference", "https://api.example.com/inference/v1"),
        ("https://api.example.com/v1/chat/completions?x=1", "https://api.example.com/v1"),
    ],
)
def test_a_url_is_taken_as_people_write_it(url: str, meant: str) -> None:
    assert api_url(url) == meant


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://name:secret@host", "http://host:port"])
def test_a_url_that_cannot_be_asked_is_refused_without_repeating_secrets(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        api_url(url)
    assert "secret" not in str(refused.value)


async def test_the_first_model_is_asked_unless_one_is_named() -> None:
    async with serving(FakeServer()) as server:
        found = [(await find(server.url, model, "", MonotonicClock())).model for model in (None, "another")]
    assert found == [MODEL, "another"]
    assert [seen.body["model"] for seen in server.seen] == found


async def test_a_server_that_lists_no_models_can_be_asked_by_name() -> None:
    async with serving(FakeServer(models=(404, "Not Found"))) as server:
        assert (await find(server.url, "mine", "", MonotonicClock())).model == "mine"


@pytest.mark.parametrize(
    ("server", "model", "kind", "words"),
    [
        (FakeServer(models=(401, '{"error": {"message": "no key"}}')), None, KeyRefused, "FOVEAL_BENCH_KEY.*no key"),
        (FakeServer(lambda _: Script(status=403, says="not yours")), None, KeyRefused, "wants a key"),
        (FakeServer(models=(200, "<html>")), None, NotAnOpenAIServer, "is the URL right"),
        (FakeServer(models=(404, "Not Found")), None, NotAnOpenAIServer, "404 Not Found"),
        (FakeServer(models=(200, '{"data": []}')), None, NotAnOpenAIServer, "--model"),
        (FakeServer(lambda _: NOT_FOUND), "mine", UnknownModel, "'mine'; it serves scripted, another"),
        (FakeServer(lambda _: NOT_FOUND), None, NotAnOpenAIServer, "404 no such model"),
        (FakeServer(lambda _: Script(status=503, says="loading")), None, Refused, "503 loading"),
    ],
    ids=["key", "forbidden", "page", "elsewhere", "no models", "unknown model", "no chat", "not ready"],
)
async def test_each_fault_of_a_server_has_its_own_error(
    server: FakeServer, model: str | None, kind: type[BenchError], words: str
) -> None:
    async with serving(server):
        with pytest.raises(kind, match=words):
            await find(server.url, model, "", MonotonicClock())


async def test_a_server_that_does_not_listen_has_its_own_error() -> None:
    with pytest.raises(ServerNotThere, match="is the server running"):
        await find("http://127.0.0.1:9", None, "", MonotonicClock())

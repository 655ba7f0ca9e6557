"""Models on a real llama-server, asked here and there: the same answers, the same counts."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from foveal.accounting.accounting import Accounting
from foveal.config import Config, HttpConfig, ImageConfig, ServedConfig, UpstreamConfig
from foveal.http.app import create_app
from foveal.serving.elsewhere import ModelsElsewhere
from foveal.serving.in_flight import InFlight
from foveal.serving.served import ServedModels
from foveal.types import ChatRequest, GenerationOptions, Message, SamplingParams
from tests.builders import picture
from tests.media.builders import PATIENT, data_url, encode
from tests.scale.llama import CONTEXT, llama_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

pytestmark = pytest.mark.scale

GREEDY = {"temperature": 0, "max_tokens": 12}
THEIR_DEFAULTS_OFF = {"top_k": 0, "min_p": 0, "top_p": 1, "seed": 0}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with llama_server(tmp_path_factory.mktemp("llama")) as found:
        yield found


class Both:
    """The same server, asked through this one and directly."""

    def __init__(self, here: httpx.AsyncClient, there: httpx.AsyncClient, models: ServedModels, accounts: Accounting):
        self._here, self._there, self.models, self.accounting = here, there, models, accounts

    async def here(self, body: dict[str, Any], path: str = "/v1/chat/completions") -> httpx.Response:
        return await self._here.post(path, json={"model": "far", **body})

    async def there(self, body: dict[str, Any], path: str = "chat/completions") -> Any:
        asked = {"model": "any", **THEIR_DEFAULTS_OFF, "cache_prompt": False, **body}
        return (await self._there.post(path, json=asked, timeout=60)).json()

    async def pieces(self, body: dict[str, Any], path: str = "chat/completions") -> list[dict[str, Any]]:
        """What the other server streams of its only choice, as it is."""
        asked = {"model": "any", **THEIR_DEFAULTS_OFF, "cache_prompt": False, **body, "stream": True}
        lines = (await self._there.post(path, json=asked, timeout=60)).text.splitlines()
        events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
        return [choice for event in events for choice in event["choices"]]


@asynccontextmanager
async def both(url: str) -> AsyncIterator[Both]:
    settings: dict[str, Any] = {"num_workers": 1} | PATIENT
    images, accounting = ImageConfig(**settings), Accounting()
    model = ServedConfig("far", UpstreamConfig(url, dialect="llama-server"), context_length=CONTEXT)
    elsewhere = ModelsElsewhere(Config(images=images, models=(model,)), accounting, InFlight())
    models = ServedModels(elsewhere.served)
    transport = httpx.ASGITransport(create_app(models, HttpConfig(), accounting))
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as here,
        httpx.AsyncClient(base_url=url) as there,
    ):
        yield Both(here, there, models, accounting)
    await elsewhere.close()


def play(url: str, act: Callable[[Both], Awaitable[None]]) -> None:
    async def scene() -> None:
        async with both(url) as found:
            await act(found)

    asyncio.run(scene())


def messages(size: tuple[int, int] | None) -> list[dict[str, Any]]:
    """A question, about a picture of this size."""
    if size is None:
        return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is it?"}]
    image = {"type": "image_url", "image_url": {"url": data_url(encode(picture(*size)))}}
    return [{"role": "user", "content": [image, {"type": "text", "text": "What is it?"}]}]


@pytest.mark.parametrize("size", [None, (90, 60), (40, 120)])
def test_answers_and_counts_are_the_other_servers(url: str, size: tuple[int, int] | None) -> None:
    async def act(both: Both) -> None:
        body = {"messages": messages(size), **GREEDY}
        here, there = (await both.here(body)).json(), await both.there(body)

        assert here["choices"][0]["message"]["content"] == there["choices"][0]["message"]["content"] != ""
        assert here["choices"][0]["finish_reason"] == there["choices"][0]["finish_reason"]
        assert here["usage"]["prompt_tokens"] == there["usage"]["prompt_tokens"]
        assert here["usage"]["completion_tokens"] == there["usage"]["completion_tokens"]

    play(url, act)


def test_a_seed_draws_the_same_again(url: str) -> None:
    async def act(both: Both) -> None:
        body = {"messages": messages(None), "temperature": 1, "max_tokens": 12, "seed": 2**40 + 7}
        first, second = [(await both.here(body)).json()["choices"] for _ in range(2)]
        assert first == second

    play(url, act)


def test_a_schema_holds_there_too(url: str) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"], "additionalProperties": False}

    async def act(both: Both) -> None:
        body = {
            "messages": messages(None),
            **GREEDY,
            "max_tokens": 60,
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
        }
        text = (await both.here(body)).json()["choices"][0]["message"]["content"]
        assert "".join(text.split()) == '{"a":"x"}'

    play(url, act)


def test_a_prompt_that_is_too_long_for_it_is_refused_in_its_words(url: str) -> None:
    async def act(both: Both) -> None:
        response = await both.here({"messages": [{"role": "user", "content": "a " * 3000}], **GREEDY})
        assert response.status_code == 400
        assert "context size" in response.json()["error"]["message"]

    play(url, act)


def test_a_client_that_leaves_pays_for_what_was_made_as_it_counts(url: str) -> None:
    async def act(both: Both) -> None:
        body = {"messages": [{"role": "user", "content": "Hi"}], **GREEDY}
        num_prompt_tokens = (await both.there(body))["usage"]["prompt_tokens"]
        (served,) = both.models
        sampling = SamplingParams(max_tokens=1500, ignore_eos=True)
        asked = ChatRequest((Message("user", ("Hi",)),), GenerationOptions(sampling))
        async with served.answer(asked) as answer:
            deltas = answer.deltas()
            for _ in range(5):
                await anext(deltas)
        totals = both.accounting.totals
        assert totals.by_status["aborted"] == 1
        assert totals.prompt_tokens == num_prompt_tokens
        assert 5 <= totals.completion_tokens < 1500

    play(url, act)


def test_logprobs_are_the_other_servers(url: str) -> None:
    async def act(both: Both) -> None:
        body = {"messages": messages(None), **GREEDY, "logprobs": True, "top_logprobs": 2}
        found = (await both.here(body)).json()["choices"][0]["logprobs"]["content"]
        told = [choice["logprobs"]["content"] for choice in await both.pieces(body) if choice.get("logprobs")]
        expected = [token for tokens in told for token in tokens]
        assert len(expected) > 6  # a token that ends amid a character has none in a stream of llama-server's
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours["token"], ours["token_id"], ours["bytes"]) == (theirs["token"], theirs["id"], theirs["bytes"])
            assert ours["logprob"] == pytest.approx(
                theirs["logprob"], abs=2e-3
            )  # what was cached computes it otherwise
            assert [top["token_id"] for top in ours["top_logprobs"]] == [top["id"] for top in theirs["top_logprobs"]]

    play(url, act)


def test_a_completion_is_the_other_servers(url: str) -> None:
    async def act(both: Both) -> None:
        body = {"prompt": "Once upon a time", **GREEDY}
        here = (await both.here(body, "/v1/completions")).json()
        there = await both.there(body, "completions")
        text = "".join(choice["text"] for choice in await both.pieces(body, "completions"))
        assert here["choices"][0]["text"] == text != ""
        assert here["usage"]["prompt_tokens"] == there["usage"]["prompt_tokens"]
        assert here["usage"]["completion_tokens"] == GREEDY["max_tokens"]

    play(url, act)


@pytest.mark.parametrize("asked", [{"messages": messages(None)}, {"prompt": "Once upon a time"}])
def test_tokens_are_counted_as_an_answer_has_them(url: str, asked: dict[str, Any]) -> None:
    async def act(both: Both) -> None:
        path = "/v1/chat/completions" if "messages" in asked else "/v1/completions"
        answered = (await both.here({**asked, **GREEDY}, path)).json()
        counted = (await both.here(asked, "/v1/tokenize")).json()
        assert counted["prompt_tokens"] == answered["usage"]["prompt_tokens"] > 0

    play(url, act)

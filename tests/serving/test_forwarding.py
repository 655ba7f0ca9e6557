"""Models that another server runs, through the whole application: keys, limits, the ledger, images, every dialect."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from foveal.accounting.accounting import Accounting
from foveal.config import Config, HttpConfig, ImageConfig, LimitConfig, PriceConfig, ServedConfig, UpstreamConfig
from foveal.http.app import create_app
from foveal.serving.elsewhere import ModelsElsewhere
from foveal.serving.in_flight import InFlight
from foveal.serving.served import ServedModels
from foveal.types import ChatRequest, Message
from tests.accounting.builders import until
from tests.media.builders import PATIENT, data_url, encode, plain, png
from tests.upstream.host import DONE, HELLO, OtherServer, Reply, counted, event, other_server, said, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from foveal.upstream.known import Dialect

ASK: dict[str, Any] = {"model": "far", "messages": [{"role": "user", "content": "Hi there"}]}


@dataclass
class Scene:
    client: httpx.AsyncClient
    host: OtherServer
    accounting: Accounting
    in_flight: InFlight
    models: ServedModels

    async def chat(self, **fields: Any) -> httpx.Response:
        return await self.client.post("/v1/chat/completions", json=ASK | fields)


@asynccontextmanager
async def scene(
    *replies: Reply, limits: LimitConfig | None = None, dialect: Dialect = "openai", **settings: Any
) -> AsyncIterator[Scene]:
    async with other_server(*replies) as host:
        upstream = UpstreamConfig(host.url, "sk-theirs", dialect, model="theirs", num_retries=0)
        asked: dict[str, Any] = {"num_workers": 1, "allowed_hosts": ("127.0.0.1",)} | PATIENT
        images = ImageConfig(**asked)
        prices = PriceConfig(prompt=1.0, cached_prompt=0.5, completion=2.0)
        config = Config(images=images, prices=prices, models=(ServedConfig("far", upstream, **settings),))
        accounting, in_flight = Accounting(limits, prices), InFlight()
        elsewhere = ModelsElsewhere(config, accounting, in_flight)
        models = ServedModels(elsewhere.served)
        app = create_app(models, HttpConfig(), accounting)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield Scene(client, host, accounting, in_flight, models)
        await elsewhere.close()


def play(act: Callable[[Scene], Awaitable[Any]], *replies: Reply, **settings: Any) -> Any:
    async def whole() -> Any:
        async with scene(*replies or (HELLO,), **settings) as found:
            return await act(found)

    return asyncio.run(whole())


def test_an_answer_with_the_other_servers_counts() -> None:
    async def act(scene: Scene) -> None:
        answer = (await scene.chat()).json()

        assert answer["choices"][0]["message"]["content"] == "Hello"
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["model"] == "far"
        usage = answer["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (12, 2)
        assert usage["prompt_tokens_details"]["cached_tokens"] == 4
        assert scene.host.bodies[0]["model"] == "theirs"
        assert "bearer sk-theirs" in scene.host.heads[0].lower()

    play(act)


def test_a_stream_with_usage() -> None:
    async def act(scene: Scene) -> None:
        response = await scene.chat(stream=True, stream_options={"include_usage": True})

        data = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
        chunks = [json.loads(line) for line in data[:-1]]
        assert data[-1] == "[DONE]"
        assert "".join(c["delta"].get("content", "") for chunk in chunks for c in chunk["choices"]) == "Hello"
        assert chunks[-1]["usage"]["completion_tokens"] == 2

    play(act)


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/v1/responses", {"model": "far", "input": "Hi"}, lambda found: found["output"][0]["content"][0]["text"]),
        (
            "/v1/messages",
            {"model": "far", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
            lambda found: found["content"][0]["text"],
        ),
        ("/api/chat", {**ASK, "stream": False}, lambda found: found["message"]["content"]),
    ],
)
def test_every_dialect_of_this_server_is_answered(path: str, body: object, text: Callable[[Any], str]) -> None:
    async def act(scene: Scene) -> None:
        assert text((await scene.client.post(path, json=body)).json()) == "Hello"

    play(act)


def image(source: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": source}}]}]


def sent_image(host: OtherServer) -> tuple[str, bytes]:
    """The kind and the bytes of the image that the other server got."""
    messages: Any = host.bodies[-1]["messages"]
    kind, _, text = messages[0]["content"][0]["image_url"]["url"].partition(";base64,")
    return kind, base64.b64decode(text, validate=True)


def test_a_plain_picture_goes_on_byte_for_byte() -> None:
    async def act(scene: Scene) -> None:
        await scene.chat(messages=image(data_url(png())))
        assert sent_image(scene.host) == ("data:image/png", png())

    play(act)


@pytest.mark.parametrize(
    "encoded",
    [
        encode(plain(), "TIFF"),
        encode(plain(), "WEBP", lossless=True),
        encode(plain((255, 0, 0, 255), mode="RGBA")),
    ],
)
def test_another_goes_on_as_it_is_seen_here(encoded: bytes) -> None:
    async def act(scene: Scene) -> None:
        await scene.chat(messages=image(data_url(encoded)))
        kind, got = sent_image(scene.host)
        picture = Image.open(io.BytesIO(got))
        assert (kind, picture.mode, picture.size) == ("data:image/png", "RGB", (8, 6))
        assert picture.tobytes() == plain().tobytes()

    play(act)


def test_a_turned_photo_goes_on_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    async def act(scene: Scene) -> None:
        await scene.chat(messages=image(data_url(encode(plain(), "JPEG", exif=exif), "image/jpeg")))
        assert Image.open(io.BytesIO(sent_image(scene.host)[1])).size == (6, 8)

    play(act)


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("http://10.0.0.1/secret.png", "image 1: this address is not allowed"),
        (data_url(b"nothing"), "image 1: not a picture"),
        ("file:///etc/passwd", "image 1: "),
    ],
)
def test_an_image_that_is_refused_here_is_never_sent(source: str, part: str) -> None:
    async def act(scene: Scene) -> None:
        response = await scene.chat(messages=image(source))
        assert response.status_code == 400
        assert part in response.json()["error"]["message"]
        assert not scene.host.bodies

    play(act)


def test_a_request_is_paid_for_as_the_other_server_counted() -> None:
    async def act(scene: Scene) -> None:
        await scene.chat()
        totals = scene.accounting.totals
        assert (totals.prompt_tokens, totals.cached_tokens, totals.completion_tokens) == (12, 4, 2)
        assert totals.by_status["finished"] == 1

    play(act)


def test_a_limit_holds_before_the_other_server_is_asked() -> None:
    async def act(scene: Scene) -> None:
        first, second = await scene.chat(max_tokens=60), await scene.chat(max_tokens=99)
        assert (first.status_code, second.status_code) == (200, 429)
        assert len(scene.host.bodies) == 1

    play(act, limits=LimitConfig(generated_tokens_per_minute=100))


def test_half_a_stream_fails_and_costs_nothing() -> None:
    async def act(scene: Scene) -> None:
        response = await scene.chat()
        assert response.status_code == 500
        assert "broke off its answer" in response.json()["error"]["message"]
        assert scene.accounting.totals.by_status["failed"] == 1

    play(act, Reply((said("Hel"),), breaks=True))


def test_a_stream_that_ends_without_a_finish_is_no_answer() -> None:
    async def act(scene: Scene) -> None:
        assert (await scene.chat()).status_code == 500
        assert scene.accounting.totals.by_status["failed"] == 1

    play(act, Reply((said("Hel"), event(b"[DONE]"))))


def test_what_follows_an_answer_cannot_spoil_it() -> None:
    async def act(scene: Scene) -> None:
        assert (await scene.chat()).json()["choices"][0]["message"]["content"] == "Hello"

    play(act, Reply((said("Hello", "stop"), counted(3, 1)), breaks=True))


def test_a_client_that_leaves_pays_for_what_was_made_and_the_other_server_is_left() -> None:
    async def act(scene: Scene) -> None:
        (served,) = scene.models
        async with served.answer(ChatRequest((Message("user", ("x" * 40,)),))) as answer:
            await anext(answer.deltas())
        async with asyncio.timeout(60):
            await scene.host.hung_up.wait()
        totals = scene.accounting.totals
        assert totals.by_status["aborted"] == 1
        assert (totals.prompt_tokens, totals.completion_tokens) == (10, 1)  # guessed: four bytes are a token

    play(act, Reply((said("Hel"), said("lo")), never_ends=True))


def test_a_client_that_leaves_before_the_first_piece_pays_for_the_prompt() -> None:
    async def act(scene: Scene) -> None:
        (served,) = scene.models

        async def ask() -> None:
            async with served.answer(ChatRequest((Message("user", ("x" * 40,)),))):
                raise AssertionError("nothing was said")

        asking = asyncio.create_task(ask())
        await until(lambda: len(scene.host.bodies) == 1)
        asking.cancel()
        await asyncio.wait([asking])
        totals = scene.accounting.totals
        assert asking.cancelled()
        assert totals.by_status["aborted"] == 1
        assert (totals.prompt_tokens, totals.completion_tokens) == (10, 0)

    play(act, Reply(is_silent=True))


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"top_k": 5}, "does not know top_k"),
        ({"return_token_ids": True}, "does not know return_token_ids"),
        ({"raw_output": True}, "does not know raw_output"),
    ],
)
def test_what_the_other_server_cannot_do_is_refused_by_name(fields: dict[str, Any], part: str) -> None:
    async def act(scene: Scene) -> None:
        response = await scene.chat(**fields)
        assert response.status_code == 400
        assert part in response.json()["error"]["message"]
        assert not scene.host.bodies

    play(act)


def test_logprobs_go_through_without_ids_that_nobody_told() -> None:
    token = {"token": "Hi", "bytes": [72, 105], "logprob": -0.25}
    choice = {"index": 0, "delta": {"content": "Hi"}, "logprobs": {"content": [token]}, "finish_reason": "stop"}

    async def act(scene: Scene) -> None:
        (found,) = (await scene.chat(logprobs=True)).json()["choices"][0]["logprobs"]["content"]
        assert found == {**token, "text_offset": 0, "top_logprobs": []}
        (legacy,) = [found["logprobs"] for found in (await scene.chat(logprobs=0)).json()["choices"]]
        assert (legacy["tokens"], legacy["token_ids"], legacy["token_logprobs"]) == (["Hi"], [None], [-0.25])

    play(act, Reply((event({"choices": [choice]}),)))


def test_a_completion_is_asked_for_at_its_own_path() -> None:
    async def act(scene: Scene) -> None:
        asked = {"model": "far", "prompt": ["Once", "Upon"], "max_tokens": 4}
        answer = (await scene.client.post("/v1/completions", json=asked)).json()
        assert [choice["text"] for choice in answer["choices"]] == ["On", "On"]
        assert answer["usage"]["completion_tokens"] == 2
        assert [body["prompt"] for body in scene.host.bodies] == ["Once", "Upon"]
        assert scene.host.heads[0].startswith("POST /v1/completions ")

    play(act, Reply((event({"choices": [{"index": 0, "text": "On", "finish_reason": "length"}]}), counted(3, 1), DONE)))


def test_tokens_of_a_chat_are_counted_by_its_template_there() -> None:
    async def act(scene: Scene) -> None:
        counted = (await scene.client.post("/v1/tokenize", json=ASK | {"return_token_ids": False})).json()
        assert (counted["prompt_tokens"], counted["image_tokens"]) == (3, 0)
        paths = [head.split()[1] for head in scene.host.heads]
        assert paths == ["/apply-template", "/tokenize"]
        assert scene.host.bodies[0]["messages"] == ASK["messages"]
        assert scene.host.bodies[1]["content"] == "<Hi>"

    play(act, whole({"prompt": "<Hi>"}), whole({"tokens": [1, 2, 3]}), dialect="llama-server")


def test_a_server_of_vllms_counts_chats_itself() -> None:
    async def act(scene: Scene) -> None:
        asked = {"model": "far", "messages": ASK["messages"]}
        assert (await scene.client.post("/v1/messages/count_tokens", json=asked)).json() == {"input_tokens": 2}
        assert [head.split()[1] for head in scene.host.heads] == ["/tokenize"]
        assert scene.host.bodies[0] == {"model": "theirs", "messages": ASK["messages"]}

    play(act, whole({"count": 2, "max_model_len": 99, "tokens": [1, 2]}), dialect="vllm")


DEEP = Reply((b'{"model": ' + b"[" * 5000,), kind="application/json")


@pytest.mark.parametrize("reply", [Reply((b"x",)), Reply((b"{}",), kind="application/json"), Reply(status=500), DEEP])
def test_nonsense_is_no_count(reply: Reply) -> None:
    async def act(scene: Scene) -> None:
        response = await scene.client.post("/v1/tokenize", json=ASK)
        assert response.status_code == 500
        assert "does not answer as it should" in response.json()["error"]["message"]

    play(act, reply, dialect="vllm")


def test_what_cannot_be_counted_is_refused_at_once() -> None:
    async def of_images(scene: Scene) -> None:
        response = await scene.client.post("/v1/tokenize", json=ASK | {"messages": image(data_url(png()))})
        assert (response.status_code, scene.host.bodies) == (400, [])

    async def at_all(scene: Scene) -> None:
        response = await scene.client.post("/v1/tokenize", json=ASK)
        assert (response.status_code, scene.host.bodies) == (400, [])

    play(of_images, dialect="vllm")
    play(at_all, dialect="openai")


def test_a_server_that_stops_takes_no_more_and_waits_for_what_runs() -> None:
    async def act(scene: Scene) -> None:
        await scene.in_flight.drain(0)
        assert (await scene.chat()).status_code == 503
        assert not scene.host.bodies

    play(act)

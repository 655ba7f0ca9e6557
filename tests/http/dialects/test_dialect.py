"""The interface between server and dialects, shown by a dialect that has nothing in common with OpenAI's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from foveal.config import HttpConfig
from foveal.errors import GenerationFailed, ImageError, TooManyRequests
from foveal.http.app import DIALECTS, create_app
from foveal.http.dialects import sse
from foveal.http.dialects.dialect import Dialect, KeyHeader
from foveal.http.dialects.generation import Generation
from foveal.http.endpoint import Docs, Endpoint
from foveal.serving.served import ServedModels
from foveal.types import Caller, ChatRequest, Delta, GenerationOptions, Message
from tests.fakes import FakePipeline
from tests.http.client import accounting_for, send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import httpx
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.errors import RequestError
    from foveal.http.dialects.answers import Answers
    from foveal.http.endpoint import Context

# --- the dialect ------------------------------------------------------------------------------------------------------


class Talk(BaseModel):
    whom: str
    words: str
    live: bool = False


@dataclass
class TalkWriter:
    """Named, numbered events, and no [DONE] behind them."""

    media_type: str = "text/event-stream; charset=utf-8"
    num_events: int = 0

    def headers(self, answers: Answers) -> dict[str, str]:
        return {"x-test-cost": str(answers.usage.prompt_tokens)}

    async def whole(self, answers: Answers, said: Sequence[Sequence[Delta]]) -> object:
        return {"reply": "".join(delta.text for delta in said[0]), "cost": answers.usage.completion_tokens}

    async def stream(self, answers: Answers) -> AsyncIterator[bytes]:
        async for delta in answers.deltas():
            yield self._event("piece", delta.text)
        yield self._event("over", answers.usage.completion_tokens)

    def failure(self, error: RequestError) -> bytes:
        return self._event("oops", error_body(error))

    def _event(self, name: str, payload: object) -> bytes:
        self.num_events += 1
        return sse.event([self.num_events, payload], name)


async def talk(request: Request, context: Context) -> ASGIApp:
    body = await context.bodies.read(request, Talk)
    served = context.models.find_ready(body.whom)
    options = GenerationOptions(served.card.default_sampling, max_tokens=9)
    return Generation(served, [ChatRequest((Message("user", (body.words,)),), options)], TalkWriter(), body.live)


def error_body(error: RequestError) -> object:
    return {"oops": type(error).__name__, "because": error.message}


TALK = Dialect(
    names=("Talk",),
    prefixes=("/test",),
    endpoints=(Endpoint("/talk", talk, methods=("POST",), docs=Docs("generation", {"application/json": dict})),),
    key_headers=(KeyHeader("x-test-key"), KeyHeader("authorization", "Test")),
    error_body=error_body,
    error_schema=dict,
)

# --- what becomes of it -----------------------------------------------------------------------------------------------

ASK = {"whom": "foveal-mini", "words": "Hi"}
KEYS = HttpConfig(api_keys=("secret",))


def ask(
    pipeline: FakePipeline | None = None,
    config: HttpConfig | None = None,
    headers: dict[str, str] | None = None,
    method: str = "POST",
    path: str = "/test/talk",
    **fields: object,
) -> httpx.Response:
    config = config or HttpConfig()
    models = ServedModels([pipeline or FakePipeline()])
    app = create_app(models, config, accounting_for(config), (*DIALECTS, TALK))
    return send(app, method, path, json=ASK | fields, headers=headers)


def events(response: httpx.Response) -> list[tuple[str, Any]]:
    lines = [event.split("\n") for event in response.text.split("\n\n")[:-1]]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in lines]


def oops(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["oops"]


def test_an_answer_is_written_as_the_dialect_writes_it() -> None:
    pipeline = FakePipeline(warnings=("mind this",))
    response = ask(pipeline)
    assert response.json() == {"reply": "Hello", "cost": 2}
    assert (response.headers["x-test-cost"], response.headers["x-foveal-warning"]) == ("12", "mind this")
    assert not [name for name in response.headers if name.startswith("fireworks-")]
    assert isinstance(pipeline.requests[0], ChatRequest)
    assert pipeline.requests[0].caller == Caller(response.headers["x-request-id"])


def test_a_stream_has_the_dialects_events_and_its_end() -> None:
    response = ask(live=True)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert events(response) == [
        ("piece", [1, "Hel"]),
        ("piece", [2, "lo"]),
        ("piece", [3, ""]),
        ("over", [4, 2]),
    ]


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    ("pipeline", "status", "kind"),
    [
        (FakePipeline(refusal=ImageError(1, "it is no picture")), 400, "ImageError"),
        (FakePipeline(refusal=TooManyRequests("not now", 7)), 429, "TooManyRequests"),
        (FakePipeline(is_ready=False), 503, "Overloaded"),
        (FakePipeline([GenerationFailed("it broke")]), 500, "GenerationFailed"),
        (FakePipeline([ValueError("our own bug")]), 500, "GenerationFailed"),
    ],
)
def test_an_error_before_the_first_event_is_a_response(
    pipeline: FakePipeline, status: int, kind: str, live: bool
) -> None:
    response = ask(pipeline, live=live)
    assert oops(response) == (status, kind)
    assert response.headers.get("retry-after") == {429: "7", 503: "1"}.get(status)
    assert "our own bug" not in response.text


@pytest.mark.parametrize("failure", [GenerationFailed("it broke"), ValueError("our own bug")])
def test_an_error_in_the_middle_of_a_stream_is_its_last_event(failure: Exception) -> None:
    response = ask(FakePipeline([Delta(0, "Hel"), failure]), live=True)
    first, (name, (number, error)) = events(response)
    assert (response.status_code, first, name, number) == (200, ("piece", [1, "Hel"]), "oops", 2)
    assert error["oops"] == "GenerationFailed"
    assert "our own bug" not in response.text


@pytest.mark.parametrize(
    ("fields", "method", "status", "kind"),
    [
        ({"whom": "other"}, "POST", 404, "NotFound"),
        ({"words": 1}, "POST", 400, "InvalidRequest"),
        ({}, "GET", 405, "MethodNotAllowed"),
        ({"words": "x" * 2000}, "POST", 413, "BodyTooLarge"),
    ],
)
def test_what_is_refused_is_refused_in_the_dialects_words(
    fields: dict[str, Any], method: str, status: int, kind: str
) -> None:
    assert oops(ask(config=HttpConfig(max_body_bytes=1000), method=method, **fields)) == (status, kind)


@pytest.mark.parametrize("headers", [{"x-test-key": "secret"}, {"authorization": "Test secret"}])
def test_a_key_is_taken_from_any_of_the_dialects_headers(headers: dict[str, str]) -> None:
    assert ask(config=KEYS, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-test-key": "wrong"},
        {"x-test-key": ""},
        {"authorization": "Bearer secret"},
        {"x-test-key": "secret", "authorization": "Test secret"},
    ],
)
def test_a_key_that_is_wrong_elsewhere_or_there_twice_lets_nobody_in(headers: dict[str, str]) -> None:
    response = ask(config=KEYS, headers=headers)
    assert oops(response) == (401, "Unauthorized")
    assert response.headers["www-authenticate"] == "Test"


def test_the_document_names_every_dialect_and_which_headers_hold_its_keys() -> None:
    document = ask(method="GET", path="/openapi.json").json()
    assert (
        "the Fireworks, OpenAI, OpenAI Responses, Anthropic, Ollama, Azure OpenAI and Talk dialects"
        in document["info"]["description"]
    )
    assert document["components"]["securitySchemes"] == {
        "key": {"type": "http", "scheme": "bearer"},
        "key2": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        "key3": {"type": "apiKey", "in": "header", "name": "api-key"},
        "key4": {"type": "apiKey", "in": "header", "name": "x-test-key"},
        "key5": {"type": "http", "scheme": "test"},
    }
    assert document["security"] == [{}, {"key": []}]
    assert document["paths"]["/test/talk"]["post"]["security"] == [{}, {"key4": []}, {"key5": []}]
    assert document["paths"]["/v1/models"]["get"]["security"] == [{}, {"key": []}, {"key2": []}]
    assert "security" not in document["paths"]["/v1/completions"]["post"]


def test_each_dialects_headers_are_for_its_own_paths() -> None:
    path, headers = "/v1/models", {"x-test-key": "secret"}
    response = ask(config=KEYS, headers=headers, method="GET", path=path)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "UNAUTHORIZED")


def test_where_nothing_is_the_dialect_of_the_nearest_paths_answers_or_else_the_first_one() -> None:
    assert ask(path="/test/nothing").json()["oops"] == "NotFound"
    response = ask(path="/nothing")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "NOT_FOUND")

"""Traces as a receiver of OTLP gets them: the names are those of OpenTelemetry's own package of conventions."""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Kinds
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import error_attributes as errors
from opentelemetry.semconv.attributes import http_attributes as http
from opentelemetry.semconv.attributes import url_attributes as url

from foveal.config import HttpConfig
from foveal.errors import CutOff, GenerationFailed, InvalidRequest
from foveal.http.app import create_app
from foveal.http.spans import Spans
from foveal.serving.served import ServedModels
from foveal.telemetry import Stage, note_stage, stage
from foveal.types import Delta
from tests.fakes import HELLO, FakePipeline
from tests.http.client import ASK, COMPLETE, accounting_for, send
from tests.http.receiver import Receiver, receiving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx

    from foveal.types import ChatRequest, CompletionRequest
    from tests.fakes import FakeAnswer

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(autouse=True)
def _level_of_the_sdk() -> Iterator[None]:
    logger = logging.getLogger("opentelemetry")
    level = logger.level
    yield
    logger.setLevel(level)


def traced(
    method: str, path: str, pipeline: FakePipeline | None = None, keys: tuple[str, ...] = (), **request: Any
) -> tuple[Receiver, httpx.Response]:
    """What a receiver has of one request, once the server has stopped."""
    config = HttpConfig(api_keys=keys)
    with receiving() as receiver:
        spans = Spans(receiver.url)
        app = create_app(ServedModels([pipeline or FakePipeline()]), config, accounting_for(config), tracer=spans)
        response = send(app, method, path, **request)
        spans.close()
    return receiver, response


def chat(pipeline: FakePipeline | None = None, **fields: Any) -> Receiver:
    return traced("POST", "/v1/chat/completions", pipeline, json=ASK | fields)[0]


def test_a_request_is_a_span_of_the_server() -> None:
    before_ns = time.time_ns()
    receiver, response = traced("GET", "/v1/models/foveal-mini?key=private")
    (span,) = receiver.spans
    assert receiver.paths == ["/v1/traces"]
    assert receiver.resources[0].items() >= {"service.name": "foveal"}.items()
    assert (span.name, span.kind) == ("GET /v1/models/{model:path}", Kinds.SPAN_KIND_SERVER)
    assert span.attributes == {
        http.HTTP_REQUEST_METHOD: "GET",
        http.HTTP_ROUTE: "/v1/models/{model:path}",
        http.HTTP_RESPONSE_STATUS_CODE: 200,
        url.URL_SCHEME: "http",
        url.URL_PATH: "/v1/models/foveal-mini",
        "foveal.request_id": response.headers["x-request-id"],
    }
    assert before_ns <= span.started_ns < span.ended_ns <= time.time_ns()
    assert not span.is_error


def test_an_answer_is_a_span_by_the_conventions_for_generative_ai() -> None:
    two = FakePipeline([*HELLO, Delta(1, finish_reason="stop")])
    receiver = chat(two, max_tokens=9, temperature=0.5, top_p=0.75, n=2)
    request, answer = receiver.named("POST /v1/chat/completions"), receiver.named("chat foveal-mini")
    assert (answer.parent_id, answer.kind) == (request.span_id, Kinds.SPAN_KIND_INTERNAL)
    assert answer.attributes == {
        gen_ai.GEN_AI_OPERATION_NAME: gen_ai.GenAiOperationNameValues.CHAT.value,
        gen_ai.GEN_AI_PROVIDER_NAME: "foveal",
        gen_ai.GEN_AI_REQUEST_MODEL: "foveal-mini",
        gen_ai.GEN_AI_RESPONSE_MODEL: "foveal-mini",
        gen_ai.GEN_AI_REQUEST_MAX_TOKENS: 9,
        gen_ai.GEN_AI_REQUEST_TEMPERATURE: 0.5,
        gen_ai.GEN_AI_REQUEST_TOP_P: 0.75,
        gen_ai.GEN_AI_REQUEST_CHOICE_COUNT: 2,
        gen_ai.GEN_AI_USAGE_INPUT_TOKENS: 12,
        gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: 4,
        gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS: 2,
        gen_ai.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: 0.125,
        gen_ai.GEN_AI_RESPONSE_FINISH_REASONS: ["stop"],
        "foveal.image_tokens": 9,
    }


def test_a_completion_is_called_one() -> None:
    receiver, _ = traced("POST", "/v1/completions", json=COMPLETE)
    name = receiver.named("text_completion foveal-mini").attributes[gen_ai.GEN_AI_OPERATION_NAME]
    assert name == gen_ai.GenAiOperationNameValues.TEXT_COMPLETION.value


class Staged(FakePipeline):
    """Has stages, as the inner layers note them."""

    @asynccontextmanager
    async def answer(self, request: ChatRequest | CompletionRequest) -> AsyncIterator[FakeAnswer]:
        with pytest.raises(ValueError, match="late"), stage("fetch", image=2):
            raise ValueError("late")
        note_stage(Stage("prefill", time.monotonic() - 3.0, time.monotonic() - 1.0, {"prompt_tokens": 12}))
        async with super().answer(request) as answer:
            yield answer


def test_stages_are_spans_within_the_answer() -> None:
    receiver = chat(Staged())
    stages = receiver.below(receiver.named("chat foveal-mini"))
    assert {each.name for each in stages} == {"fetch", "prefill"}
    fetch, prefill = receiver.named("fetch"), receiver.named("prefill")
    assert fetch.attributes == {"foveal.image": 2, errors.ERROR_TYPE: "ValueError"}
    assert (fetch.is_error, prefill.is_error) == (True, False)
    assert prefill.attributes == {"foveal.prompt_tokens": 12}
    assert prefill.ended_ns - prefill.started_ns == pytest.approx(2e9, rel=1e-3)
    assert {span.trace_id for span in receiver.spans} == {fetch.trace_id}


def test_a_refused_request_has_its_stages_and_no_answer() -> None:
    receiver = chat(Staged(refusal=InvalidRequest("The prompt is empty.")))
    request = receiver.named("POST /v1/chat/completions")
    assert {each.name for each in receiver.below(request)} == {"fetch", "prefill"}
    assert (request.attributes[http.HTTP_RESPONSE_STATUS_CODE], request.is_error) == (400, False)


@pytest.mark.parametrize(("error", "kind"), [(GenerationFailed("no"), "failed"), (CutOff("no"), "aborted")])
def test_an_answer_that_ends_badly_in_its_stream_is_an_error(error: Exception, kind: str) -> None:
    answer = chat(FakePipeline([HELLO[0], error]), stream=True).named("chat foveal-mini")
    assert (answer.attributes[errors.ERROR_TYPE], answer.is_error) == (kind, True)
    assert gen_ai.GEN_AI_RESPONSE_FINISH_REASONS not in answer.attributes


def test_our_own_bug_is_an_error_of_the_request() -> None:
    request = chat(FakePipeline([RuntimeError("what happened")])).named("POST /v1/chat/completions")
    assert (request.attributes[errors.ERROR_TYPE], request.is_error) == ("500", True)


@pytest.mark.parametrize("sampled", [True, False])
def test_a_clients_trace_goes_on_if_it_is_sampled(sampled: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="foveal.http")
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-0{int(sampled)}"}
    receiver, _ = traced("GET", "/v1/models", headers=headers)
    assert [(span.trace_id, span.parent_id) for span in receiver.spans] == [(TRACE, PARENT)] * sampled
    assert f"trace_id={TRACE}" in caplog.text


def test_what_is_no_trace_of_a_client_begins_one() -> None:
    receiver, _ = traced("GET", "/v1/models", headers={"traceparent": "00-zero-b7ad6b7169203331-01"})
    (span,) = receiver.spans
    assert span.parent_id == ""


def test_a_path_without_a_route_names_no_span() -> None:
    receiver, _ = traced("BREW", "/coffee/private")
    (span,) = receiver.spans
    assert (span.name, span.attributes[http.HTTP_REQUEST_METHOD]) == ("_OTHER", "_OTHER")


def test_nothing_that_was_asked_or_answered_is_sent() -> None:
    pipeline = FakePipeline([Delta(0, "a private answer"), Delta(0, finish_reason="stop")])
    messages = [{"role": "user", "content": "a private prompt"}]
    headers = {"authorization": "Bearer sk-private", "x-private": "private"}
    body = ASK | {"messages": messages, "stop": ["private"], "user": "private"}
    path = "/v1/chat/completions?private=1"
    receiver, _ = traced("POST", path, pipeline, keys=("sk-private",), headers=headers, json=body)
    assert receiver.named("POST /v1/chat/completions").attributes["foveal.key"] == "config-1"
    assert "private" not in str(receiver)


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/pages/playground/main.js"])
def test_what_programs_ask_again_and_again_has_no_traces(path: str) -> None:
    assert traced("GET", path)[0].spans == []


def test_a_receiver_that_is_away_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with receiving() as gone:
        pass
    spans = Spans(gone.url.replace("://", "://me:private@"))
    app = create_app(ServedModels([FakePipeline()]), HttpConfig(), accounting_for(HttpConfig()), tracer=spans)
    for _ in range(2):
        assert send(app, "GET", "/v1/models").status_code == 200
        spans._provider.force_flush()
    spans.close()
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == [f"traces cannot be sent to {gone.url}/v1/traces, and are dropped until they can"]

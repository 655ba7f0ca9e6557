"""The application as a whole: paths, their documentation, and paths that do not exist."""

from __future__ import annotations

import re

import pytest

from foveal.config import HttpConfig
from foveal.http.dialects.openai.schemas import ChatBody, CompletionBody
from tests.fakes import FakePipeline
from tests.http.client import ASK, COMPLETE, call, error


@pytest.mark.parametrize("prefix", ["/v1", "/inference/v1", "/inference/v1/v1"])
def test_every_route_is_under_every_prefix(prefix: str) -> None:
    assert call("POST", f"{prefix}/chat/completions", json=ASK).status_code == 200
    assert call("POST", f"{prefix}/completions", json=COMPLETE).status_code == 200
    assert call("POST", f"{prefix}/tokenize", json=ASK).status_code == 200
    assert call("GET", f"{prefix}/models").status_code == 200
    assert call("GET", f"{prefix}/accounts/me/models").status_code == 200


def test_health_and_readiness() -> None:
    loading = FakePipeline(is_ready=False)
    assert [call("GET", path, loading).status_code for path in ("/healthz", "/readyz")] == [200, 503]
    assert [call("GET", path).status_code for path in ("/healthz", "/readyz")] == [200, 200]


def test_a_server_whose_engine_is_being_started_again_is_not_ready() -> None:
    class AwayEngine:
        is_ready = False

    away = FakePipeline(engine=AwayEngine())  # type: ignore[arg-type]  # nothing else is asked of it
    assert [call("GET", path, away).status_code for path in ("/healthz", "/readyz")] == [200, 503]


@pytest.mark.parametrize(
    ("method", "path", "status", "part"),
    [
        ("GET", "/x", 404, "nothing at this path"),
        ("GET", "/v1/models/x/", 404, "not found"),
        ("POST", "/v1/chat/completions//", 404, "nothing at this path"),
        ("GET", "/v1/chat/completions", 405, "method"),
        ("POST", "/v1/images/generations", 404, "makes none: image"),
        ("POST", "/v1/fine_tuning/jobs", 404, "fine-tuning"),
        ("GET", "/v1/accounts/me/supervisedFineTuningJobs", 404, "fine-tuning"),
        ("POST", "/v1/workflows/accounts/fireworks/models/flux/text_to_image", 404, "makes none: image"),
    ],
)
def test_what_is_not_there_is_said_in_the_error_body(method: str, path: str, status: int, part: str) -> None:
    response = call(method, path)
    assert response.status_code == status
    assert part in error(response)["message"]


def test_every_answer_has_a_request_id_of_ours() -> None:
    headers = {"x-request-id": "theirs"}
    ids = [
        call("GET", path, headers=headers).headers["x-request-id"] for path in ("/healthz", "/v1/models", "/nowhere")
    ]
    assert len(set(ids)) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", found) for found in ids)


def test_the_openapi_document_describes_every_field_and_refers_to_nothing_missing() -> None:
    response = call("GET", "/openapi.json")
    document = response.json()
    schemas = document["components"]["schemas"]
    assert set(schemas["ChatBody"]["properties"]) == set(ChatBody.model_fields)
    assert set(schemas["CompletionBody"]["properties"]) == set(CompletionBody.model_fields)
    assert set(re.findall(r'"#/components/schemas/(\w+)"', response.text)) <= set(schemas)
    assert set(document["paths"]) == {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/tokenize",
        "/v1/responses",
        "/v1/responses/input_tokens",
        "/v1/responses/{response}",
        "/v1/responses/{response}/input_items",
        "/api/chat",
        "/api/generate",
        "/api/tags",
        "/api/ps",
        "/api/show",
        "/api/version",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/models",
        "/v1/models/{model}",
        "/v1/accounts/{account}/models",
        "/v1/accounts/{account}/models/{model}",
        "/openai/deployments/{model}/chat/completions",
        "/openai/deployments/{model}/completions",
        "/healthz",
        "/readyz",
        "/metrics",
        "/status/failures",
    }


def test_the_examples_of_the_document_work_on_every_wire() -> None:
    paths = call("GET", "/openapi.json").json()["paths"]
    bodies = {path: of["post"]["requestBody"] for path, of in paths.items() if "post" in of}
    examples = {path: body["content"]["application/json"]["example"] for path, body in bodies.items()}
    for path, example in examples.items():
        answer = call("POST", path.replace("{model}", "foveal-mini"), json=example)
        assert answer.status_code == 200, (path, answer.text)
    assert len(examples) >= 12


def test_the_document_puts_each_wire_in_a_group_of_its_own() -> None:
    paths = call("GET", "/openapi.json").json()["paths"]
    tags = {path: {tag for operation in of.values() for tag in operation["tags"]} for path, of in paths.items()}
    assert tags["/v1/chat/completions"] == {"Fireworks and OpenAI"}
    assert tags["/v1/messages"] == {"Anthropic"}
    assert tags["/api/tags"] == {"Ollama"}
    assert tags["/openai/deployments/{model}/completions"] == {"Azure OpenAI"}
    assert (tags["/v1/models"], tags["/metrics"]) == ({"Models"}, {"Health"})


def test_a_body_over_the_limit_is_refused_by_its_length_and_while_it_is_read() -> None:
    async def pieces() -> object:
        for _ in range(4):
            yield b" " * 50

    config = HttpConfig(max_body_bytes=100)
    for content in (b" " * 101, pieces()):
        response = call(
            "POST",
            "/v1/completions",
            FakePipeline(),
            config,
            content=content,
            headers={"content-type": "application/json"},
        )
        assert (response.status_code, response.headers["connection"]) == (413, "close")
        assert "100 bytes" in error(response)["message"]

"""One line a request, without anything confidential in it."""

from __future__ import annotations

import logging

import pytest

from foveal.config import HttpConfig
from foveal.errors import GenerationFailed, InvalidRequest
from foveal.types import Delta
from tests.fakes import FakePipeline
from tests.http.client import call, chat

TURNS = [{"role": "user", "content": "Hi"}]
WIRES: dict[str, dict[str, object]] = {
    "/v1/chat/completions": {"messages": TURNS},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"messages": TURNS, "max_tokens": 9},
    "/api/chat": {"messages": TURNS},
    "/api/generate": {"prompt": "Hi"},
}


@pytest.fixture(autouse=True)
def _record_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="foveal")


def test_a_line_has_method_path_status_and_id(caplog: pytest.LogCaptureFixture) -> None:
    response = chat()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("POST /v1/chat/completions 200 ")
    assert line.endswith(response.headers["x-request-id"])


def test_prompts_keys_and_query_strings_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    messages = [{"role": "user", "content": "a private prompt"}]
    call(
        "POST",
        "/v1/chat/completions?token=private",
        headers={"authorization": "Bearer private"},
        json={"model": "foveal-mini", "messages": messages},
    )
    assert "private" not in caplog.text


def test_a_path_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    call("GET", "http://localhost/a%0D%0AGET%20/forged" + "x" * 500)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "\n" not in line
    assert len(line) < 250


def test_our_own_bug_is_logged_with_its_traceback_and_id(caplog: pytest.LogCaptureFixture) -> None:
    response = chat(FakePipeline([RuntimeError("what happened")]))
    assert response.headers["x-request-id"] in caplog.text
    assert "RuntimeError: what happened" in caplog.text
    assert "what happened" not in response.text


def facts_of(caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    (facts,) = [record.__dict__["facts"] for record in caplog.records if "facts" in record.__dict__]
    assert isinstance(facts, dict)
    return facts


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", WIRES)
def test_a_line_tells_who_asked_what_model_and_what_it_took(
    caplog: pytest.LogCaptureFixture, path: str, stream: bool
) -> None:
    body = {"model": "foveal-mini", "stream": stream, **WIRES[path]}
    headers = {"authorization": "Bearer secret"}
    call("POST", path, config=HttpConfig(api_keys=("secret",)), json=body, headers=headers)
    facts = facts_of(caplog)
    assert (facts["model"], facts["status"], facts["finish"]) == ("foveal-mini", 200, "stop")
    assert [facts[f"{kind}_tokens"] for kind in ("prompt", "image", "cached", "output")] == [12, 9, 4, 2]
    assert (facts["queue_s"], facts["first_token_s"]) == (0.0625, 0.125)
    assert facts["key"] == "config-1"
    assert "secret" not in caplog.text


def test_an_answer_that_fails_in_its_stream_is_told_from_one_that_ends(caplog: pytest.LogCaptureFixture) -> None:
    chat(FakePipeline([Delta(0, "Hel"), GenerationFailed("It failed.")]), stream=True)
    assert (facts_of(caplog)["status"], facts_of(caplog)["finish"]) == (200, "failed")


def test_a_refused_request_has_its_model_and_no_tokens(caplog: pytest.LogCaptureFixture) -> None:
    chat(FakePipeline(refusal=InvalidRequest("The prompt is empty.")))
    facts = facts_of(caplog)
    assert (facts["model"], facts["status"]) == ("foveal-mini", 400)
    assert "prompt_tokens" not in facts


@pytest.mark.parametrize(
    "path", ["/healthz", "/health", "/readyz", "/metrics", "/status/failures", "/pages/playground/main.js"]
)
def test_what_programs_ask_every_few_seconds_is_not_logged(caplog: pytest.LogCaptureFixture, path: str) -> None:
    assert call("GET", path).status_code == 200
    assert not caplog.records

"""One line a request, without anything confidential in it."""

from __future__ import annotations

import logging

import pytest

from tests.fakes import FakePipeline
from tests.http.client import call, chat


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

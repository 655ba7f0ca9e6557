"""GET /status/failures: what the page for operators says of requests that went wrong."""

from __future__ import annotations

import time

import pytest

from foveal.accounting.accounting import Accounting
from foveal.config import HttpConfig
from foveal.errors import GenerationFailed
from foveal.http.traffic import MAX_FAILURES
from foveal.types import Delta
from tests.fakes import FakePipeline
from tests.http.client import ASK, accounting_for, app_for, send


def test_the_last_failures_are_told_newest_first_without_what_clients_sent() -> None:
    app = app_for(FakePipeline(refusal=GenerationFailed("it broke")), HttpConfig(), Accounting())
    asked = [
        send(app, "GET", "/v1/models"),
        send(app, "GET", "/v1/models/a-secret-name"),
        send(app, "POST", "/v1/chat/completions", json=ASK),
    ]
    answer = send(app, "GET", "/status/failures")
    failures = answer.json()["failures"]
    assert [(each["route"], each["status"]) for each in failures] == [
        ("/chat/completions", 500),
        ("/models/{model:path}", 404),
    ]
    assert [each["request_id"] for each in failures] == [each.headers["x-request-id"] for each in asked[:0:-1]]
    assert all(0 <= time.time() - each["ended"] < 600 for each in failures)
    assert "a-secret-name" not in answer.text


def test_a_stream_that_failed_after_its_200_is_told_too() -> None:
    pipeline = FakePipeline([Delta(0, "Hel"), GenerationFailed("it broke")])
    app = app_for(pipeline, HttpConfig(), Accounting())
    asked = send(app, "POST", "/v1/chat/completions", json=ASK | {"stream": True})
    (failure,) = send(app, "GET", "/status/failures").json()["failures"]
    assert (failure["status"], failure["request_id"]) == (200, asked.headers["x-request-id"])


def test_no_more_failures_are_kept_than_a_person_reads() -> None:
    app = app_for(FakePipeline(), HttpConfig(), Accounting())
    for _ in range(MAX_FAILURES + 5):
        send(app, "GET", "/nothing")
    assert len(send(app, "GET", "/status/failures").json()["failures"]) == MAX_FAILURES


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("sk-wrong", 401), ("sk-operator", 200)])
def test_with_keys_it_is_for_the_operator(key: str | None, status: int) -> None:
    config = HttpConfig(api_keys=("sk-operator",))
    app = app_for(FakePipeline(), config, accounting_for(config))
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    assert send(app, "GET", "/status/failures", headers=headers).status_code == status


def test_a_server_that_is_not_ready_yet_has_not_failed() -> None:
    app = app_for(FakePipeline(is_ready=False), HttpConfig(), Accounting())
    assert send(app, "GET", "/readyz").status_code == 503
    assert send(app, "GET", "/status/failures").json()["failures"] == []

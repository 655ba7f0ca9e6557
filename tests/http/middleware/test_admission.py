"""A request counts from its head on, whatever its body turns out to be."""

from __future__ import annotations

import httpx
import pytest

from foveal.accounting.accounting import Accounting
from foveal.config import HttpConfig, LimitConfig
from tests.fakes import FakePipeline
from tests.http.client import ASK, app_for, call, error, send
from tests.http.server import post_bytes, serving, wait_until

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"model": "other", "messages": [], "x": 1}'])
def test_a_request_that_is_refused_for_its_body_counts(content: bytes) -> None:
    accounting = Accounting(LimitConfig(requests_per_minute=2))
    app = app_for(FakePipeline(accounting=accounting), HttpConfig(), accounting)
    statuses = [send(app, "POST", CHAT, content=content, headers=JSON).status_code for _ in range(3)]
    assert statuses == [400, 400, 429]


def test_a_request_counts_once_though_its_pipeline_admits_it_too() -> None:
    accounting = Accounting(LimitConfig(requests_per_minute=10, max_concurrent_requests=1))
    app = app_for(FakePipeline(accounting=accounting), HttpConfig(), accounting)
    remaining = [send(app, "POST", CHAT, json=ASK).headers["x-ratelimit-remaining-requests"] for _ in range(3)]
    assert remaining == ["9", "8", "7"]


def test_a_half_sent_body_is_a_request_at_once_and_the_next_is_refused_without_its_body() -> None:
    accounting = Accounting(LimitConfig(max_concurrent_requests=1))
    pipeline = FakePipeline(accounting=accounting)
    with serving(pipeline, accounting=accounting) as served, served.connect() as first, served.connect() as second:
        whole = post_bytes(CHAT, ASK)
        first.sendall(whole[:-1])
        wait_until(lambda: accounting.num_visiting == 1)
        second.sendall(whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        assert second.recv(1 << 16).startswith(b"HTTP/1.1 429 ")
        first.sendall(whole[-1:])
        assert first.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        wait_until(lambda: accounting.num_visiting == 0)
        assert httpx.post(served.url + CHAT, json=ASK).status_code == 200


def test_asking_what_there_is_does_not_count() -> None:
    response = call("GET", "/v1/models")
    assert response.headers["x-ratelimit-remaining-requests"] == response.headers["x-ratelimit-limit-requests"]


def test_a_refusal_for_a_limit_has_the_usual_form() -> None:
    accounting = Accounting(LimitConfig(requests_per_minute=1))
    app = app_for(FakePipeline(), HttpConfig(), accounting)
    send(app, "POST", CHAT, json=ASK)
    refused = send(app, "POST", CHAT, json=ASK)
    assert error(refused)["code"] == "RATE_LIMIT_EXCEEDED"
    assert int(refused.headers["retry-after"]) >= 1

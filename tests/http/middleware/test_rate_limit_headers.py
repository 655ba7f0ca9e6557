"""The headers that tell of limits, on every kind of response."""

from __future__ import annotations

import pytest

from foveal.accounting.accounting import Accounting
from foveal.accounting.limits import Allowance, Standing
from foveal.config import HttpConfig, LimitConfig
from foveal.errors import GenerationFailed, InvalidRequest, TooManyRequests
from foveal.http.middleware.rate_limit_headers import headers
from foveal.types import Delta
from tests.fakes import FakePipeline
from tests.http.client import ASK, app_for, call, error, send

LIMITS = LimitConfig(10, 2_000, 300, 0)


def test_each_limit_has_a_pair_of_headers() -> None:
    standing = Standing(Allowance(10, 9), Allowance(2_000, 1_500), Allowance(300, 1))
    assert headers(standing, 200) == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-limit-tokens-prompt": "2000",
        "x-ratelimit-remaining-tokens-prompt": "1500",
        "x-ratelimit-limit-tokens-generated": "300",
        "x-ratelimit-remaining-tokens-generated": "1",
        "x-ratelimit-over-limit": "no",
    }


@pytest.mark.parametrize(
    ("standing", "status", "expected"),
    [
        (Standing(), 200, "no"),
        (Standing(Allowance(1, 1)), 200, "no"),
        (Standing(Allowance(1, 0)), 200, "yes"),
        (Standing(generated_tokens=Allowance(5, 0)), 400, "yes"),
        (Standing(Allowance(1, 1)), 429, "yes"),
    ],
)
def test_a_limit_is_over_when_nothing_is_left_or_a_request_was_refused(
    standing: Standing, status: int, expected: str
) -> None:
    assert headers(standing, status)["x-ratelimit-over-limit"] == expected


def test_a_limit_that_is_switched_off_has_no_headers() -> None:
    assert list(headers(Standing(), 200)) == ["x-ratelimit-over-limit"]


@pytest.mark.parametrize(
    ("pipeline", "fields"),
    [
        (FakePipeline(), {}),
        (FakePipeline(), {"stream": True}),
        (FakePipeline(), {"unknown": 1}),
        (FakePipeline(), {"model": "other"}),
        (FakePipeline(refusal=InvalidRequest("no")), {}),
        (FakePipeline(refusal=TooManyRequests("not now", 7)), {}),
        (FakePipeline([GenerationFailed("it broke")]), {}),
        (FakePipeline([Delta(0, "A"), ValueError()]), {"stream": True}),
        (FakePipeline(is_ready=False), {}),
    ],
    ids=["whole", "stream", "400", "404", "refused", "429", "500", "broken stream", "503"],
)
def test_every_answer_tells_how_the_caller_stands(pipeline: FakePipeline, fields: dict[str, object]) -> None:
    app = app_for(pipeline, HttpConfig(), Accounting(LIMITS))
    response = send(app, "POST", "/v1/chat/completions", json=ASK | fields)
    assert response.headers["x-ratelimit-limit-requests"] == "10"
    assert response.headers["x-ratelimit-remaining-tokens-prompt"] == "2000"


def test_other_paths_tell_too() -> None:
    for path in ("/v1/models", "/nowhere"):
        assert call("GET", path).headers["x-ratelimit-limit-requests"] == "60000"


def test_those_without_a_key_see_the_limits_of_every_key() -> None:
    """The wire contract has these headers on every answer. They do not tell what anybody took."""
    app = app_for(FakePipeline(), HttpConfig(api_keys=("k",)), Accounting(LIMITS, api_keys=("k",)))
    send(app, "POST", "/v1/chat/completions", json=ASK, headers={"authorization": "Bearer k"})
    response = send(app, "GET", "/v1/models")
    assert response.status_code == 401
    assert response.headers["x-ratelimit-limit-requests"] == "10"
    assert response.headers["x-ratelimit-remaining-requests"] == "10"


def test_probes_have_no_limits() -> None:
    assert not [name for name in call("GET", "/healthz").headers if name.startswith("x-ratelimit")]


def test_a_refusal_says_when_to_come_back_in_the_error_body_and_header() -> None:
    response = call("POST", "/v1/chat/completions", FakePipeline(refusal=TooManyRequests("not now", 6.2)), json=ASK)
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert error(response) == {
        "object": "error",
        "type": "error",
        "code": "RATE_LIMIT_EXCEEDED",
        "message": "not now",
    }

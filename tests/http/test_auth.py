"""Who gets in: with keys the one who has one, without keys the one on this machine."""

from __future__ import annotations

import pytest

from foveal.config import HttpConfig
from foveal.errors import ConfigError
from foveal.http.app import create_app
from foveal.http.auth import is_loopback
from tests.fakes import FakePipeline
from tests.http.client import ASK, call, error

KEYS = HttpConfig(api_keys=("first-key", "zweiter-Schlüssel"))


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer first-key",
        "bearer first-key",
        "Bearer  first-key ",
        "Bearer zweiter-Schlüssel".encode(),
    ],
)
def test_a_known_key_gets_in(authorization: str | bytes) -> None:
    headers = [(b"authorization", authorization if isinstance(authorization, bytes) else authorization.encode())]
    assert call("GET", "/v1/models", config=KEYS, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "first-key")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", "Bearer first-ke")],
        [("authorization", "Bearer first-key1")],
        [("authorization", "Bearer FIRST-KEY")],
        [("authorization", "Bearer first-key,zweiter")],
        [("authorization", "Basic first-key")],
        [("authorization", "Bearer first-key"), ("authorization", "Bearer other")],
        [("x-api-key", "first-key")],
        [("host", "localhost")],
        [("host", "localhost/healthz?")],
        [("x-forwarded-for", "127.0.0.1")],
    ],
)
def test_everyone_else_stays_out(headers: list[tuple[str, str]]) -> None:
    pipeline = FakePipeline()
    response = call("POST", "/v1/chat/completions", pipeline, KEYS, json=ASK, headers=headers)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert error(response)["code"] == "UNAUTHORIZED"
    assert error(response)["message"] == "The API key you provided is invalid."
    assert pipeline.requests == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/docs", 200),
        ("/openapi.json", 200),
        ("/v1/models", 401),
        ("/inference/v1/models", 401),
        ("/no/such/path", 401),
        ("/healthz/", 401),
        ("/healthz/../v1/models", 401),
        ("//healthz", 401),
        ("/%68ealthz", 200),
        ("/v1/models?path=/healthz", 401),
    ],
)
def test_only_the_probes_and_the_documentation_are_open(path: str, status: int) -> None:
    assert call("GET", "http://localhost" + path, config=KEYS).status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost:8000", 200),
        ("127.0.0.1:9000", 200),
        ("127.9.9.9", 200),
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
        ("127.0.0.1.evil.example:80", 400),
        ("192.168.0.7", 400),
        ("0.0.0.0", 400),
        ("", 400),
    ],
)
def test_without_keys_only_this_machines_own_names_are_answered(host: str, status: int) -> None:
    assert call("GET", "/v1/models", headers={"host": host}).status_code == status


def test_with_keys_the_name_does_not_matter() -> None:
    headers = {"host": "vlm.example", "authorization": "Bearer first-key"}
    assert call("GET", "/v1/models", config=KEYS, headers=headers).status_code == 200


@pytest.mark.parametrize("key", ["", " ", "key\n"])
def test_a_key_that_cannot_be_meant_is_a_config_error(key: str) -> None:
    with pytest.raises(ConfigError, match=r"http\.api_keys"):
        create_app(FakePipeline(), HttpConfig(api_keys=(key,)))


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("vlm.lan", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected

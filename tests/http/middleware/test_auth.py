"""Which requests are let in: with keys those that send one, without keys those from this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from foveal.accounting.accounting import Accounting
from foveal.accounting.keys import Key, new_key
from foveal.config import HttpConfig
from foveal.errors import ConfigError
from foveal.http.listener import is_loopback
from foveal.types import Caller
from tests.accounting.builders import with_keys
from tests.fakes import FakePipeline
from tests.http.client import ASK, COMPLETE, accounting_for, app_for, call, error, send

if TYPE_CHECKING:
    from pathlib import Path

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
    has_sent = any(name == "authorization" for name, _ in headers)
    expected = "The API key you provided is invalid." if has_sent else "You did not provide an API key."
    assert error(response)["message"].startswith(expected)
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
        ("/healthz/", 200),
        ("/healthz//", 401),
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


def test_who_it_is_goes_with_the_request() -> None:
    pipeline = FakePipeline()
    response = call(
        "POST", "/v1/chat/completions", pipeline, KEYS, json=ASK, headers={"authorization": "Bearer first-key"}
    )
    (request,) = pipeline.requests
    assert request.caller == Caller(response.headers["x-request-id"], "config-1", "default")


def test_without_keys_nobody_is_named() -> None:
    pipeline = FakePipeline()
    response = call("POST", "/v1/completions", pipeline, json=COMPLETE | {"prompt": ["a", "b"]})
    assert {request.caller for request in pipeline.requests} == {Caller(response.headers["x-request-id"])}


def test_a_server_that_others_can_reach_is_never_open() -> None:
    response = call("GET", "/v1/models", config=HttpConfig(host="0.0.0.0"), headers={"host": "localhost"})
    assert response.status_code == 401


def test_keys_of_the_database_let_in_until_they_are_revoked(tmp_path: Path) -> None:
    new = new_key()
    known = Key(new.id, "alice", new.digest, account="team")
    accounting = Accounting(open_books=with_keys(tmp_path, known))
    app, headers = (
        app_for(FakePipeline(), HttpConfig(), accounting),
        {"authorization": f"Bearer {new.secret}"},
    )
    assert send(app, "GET", "/v1/models", headers=headers).status_code == 200
    assert send(app, "GET", "/v1/models").status_code == 401
    accounting._take_in([replace(known, revoked_s=1.0)])
    assert send(app, "GET", "/v1/models", headers=headers).status_code == 401
    assert send(app, "GET", "/v1/models").status_code == 401


@pytest.mark.parametrize("key", ["", " ", "key\n"])
def test_a_key_that_cannot_be_meant_is_a_config_error(key: str) -> None:
    with pytest.raises(ConfigError, match=r"http\.api_keys"):
        accounting_for(HttpConfig(api_keys=(key,)))


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("vlm.lan", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected

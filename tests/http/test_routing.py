"""The route decides who may ask, and no spelling of a path reaches a route without that check."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from foveal.accounting.accounting import Accounting
from foveal.accounting.keys import digest_of
from foveal.config import HttpConfig
from foveal.http.app import all_routes
from foveal.http.dialects.openai.dialect import OPENAI
from foveal.http.endpoint import Endpoint
from foveal.http.routing import Routing, routes_of
from tests.accounting.builders import key, with_keys
from tests.fakes import FakePipeline
from tests.http.client import ASK, app_for, call, error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from starlette.types import ASGIApp, Message

FILES = {f"/pages/{folder}/{{name}}" for folder in ("playground", "reference", "shared", "status")}
OPEN = {"/", "/status", *FILES, "/health", "/healthz", "/readyz", "/docs", "/openapi.json"}
OPERATORS = {"/metrics", "/status/failures"}
CALLER, OPERATOR = "fvl-caller-x", "fvl-operator-x"
ENDS = ("\n", "\r\n", " ", "\x00", "/", "/.", "//", "?", "%0a", ";", "\u2028")
SPELLINGS: tuple[Callable[[str], str], ...] = (
    lambda path: path,
    *(lambda path, end=end: path + end for end in ENDS),
    lambda path: "/" + path,
    lambda path: "\n" + path,
    lambda path: path[1:],
    lambda path: path.upper(),
    lambda path: path.replace("/", "//"),
    lambda path: path.replace("/", "/./"),
    lambda path: "/v1" + path,
    lambda path: "/healthz/.." + path,
)  # fmt: skip


def spelled_paths() -> Iterator[str]:
    """As the server decodes them: every route, spelled in every way."""
    for route in all_routes():
        path = route.path.replace("{model:path}", "foveal-mini").replace("{rest:path}", "x")
        path = path.replace("{account}", "me").replace("{model}", "eyes")
        yield from (spell(path) for spell in SPELLINGS)


def is_open(path: str) -> bool:
    """A slash at the end of a path means nothing; the page's files may have any name of one segment."""
    path = path.removesuffix("/") or path
    return path in OPEN or re.fullmatch("/pages/(playground|reference|shared|status)/[^/]+", path) is not None


async def answer_of(app: ASGIApp, method: str, path: str, secret: str | None) -> tuple[int, bytes]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [] if secret is None else [(b"authorization", b"Bearer " + secret.encode())]
    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@pytest.fixture
def app(tmp_path: Path) -> ASGIApp:
    """With a caller's key and an operator's."""
    caller = key("caller", digest=digest_of(CALLER.encode()))
    operator = replace(key("operator", digest=digest_of(OPERATOR.encode())), is_operator=True)
    accounting = Accounting(open_books=with_keys(tmp_path, caller, operator))
    return app_for(FakePipeline(), HttpConfig(), accounting)


def test_without_a_key_only_the_open_paths_answer(app: ASGIApp) -> None:
    async def walk() -> None:
        for path in spelled_paths():
            for method in ("GET", "HEAD", "POST"):
                status, _ = await answer_of(app, method, path, None)
                assert (status != 401) == is_open(path), (method, path)

    asyncio.run(walk())


def test_no_spelling_of_a_path_shows_another_key_what_is_the_operators(app: ASGIApp) -> None:
    async def walk() -> None:
        for path in spelled_paths():
            status, body = await answer_of(app, "GET", path, CALLER)
            assert b"foveal_http_requests" not in body, path
            assert (status == 403) == (path.removesuffix("/") in OPERATORS), path
        assert b"foveal_http_requests" in (await answer_of(app, "GET", "/metrics", OPERATOR))[1]

    asyncio.run(walk())


def test_the_open_paths_and_the_operators_paths_are_these() -> None:
    by_access: dict[str, set[str]] = {"open": set(), "operator": set(), "caller": set()}
    for route in all_routes():
        by_access[route.endpoint.access].add(route.path)
    assert (by_access["open"], by_access["operator"]) == (OPEN, OPERATORS)


def test_a_path_that_takes_other_methods_says_which() -> None:
    async def answer(*_: Any) -> ASGIApp:
        raise NotImplementedError

    endpoints = [Endpoint("/{name}", answer, methods=(method,)) for method in ("GET", "DELETE")]
    routing = Routing(answer, routes_of(endpoints, OPENAI, [""]), OPENAI)  # type: ignore[arg-type]
    for method, path, expected in (("GET", "/a", "/{name}"), ("DELETE", "/a", "/{name}"), ("GET", "/a/b", "/none")):
        assert routing.find(method, path)[0].path == expected
    assert routing.find("GET", "/a")[1] == {"name": "a"}


@pytest.mark.parametrize(
    ("path", "header", "shape"),
    [
        ("/v1/nothing", "authorization", {"error": {"object", "type", "code", "message"}}),
        ("/v1/messages/batches", "x-api-key", {"type": None, "error": {"type", "message"}}),
        ("/api/nothing", "authorization", {"error": None}),
        ("/openai/deployments/eyes/embeddings", "api-key", {"error": {"object", "type", "code", "message"}}),
    ],
)
def test_where_nothing_is_the_dialect_of_the_nearest_paths_answers(
    path: str, header: str, shape: dict[str, Any]
) -> None:
    """A client of Anthropic's, say, sends its key in its own header, and reads errors of its own form."""
    secret = "Bearer key" if header == "authorization" else "key"
    response = call("GET", path, config=HttpConfig(api_keys=("key",)), headers={header: secret})
    keys = {name: set(part) if isinstance(part, dict) else None for name, part in response.json().items()}
    assert (response.status_code, keys) == (404, shape)


def test_anthropics_clients_list_models_with_the_key_in_their_own_header() -> None:
    for secret, status in (("key", 200), ("other", 401)):
        headers = {"x-api-key": secret}
        assert call("GET", "/v1/models", config=HttpConfig(api_keys=("key",)), headers=headers).status_code == status


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/models", "/api/version"])
def test_head_answers_where_get_does(path: str) -> None:
    """As load balancers, and Ollama's own client before anything else, ask whether a server is there."""
    assert call("HEAD", path).status_code == 200


def test_head_needs_the_key_that_get_needs() -> None:
    assert call("HEAD", "/metrics", config=HttpConfig(api_keys=("key",))).status_code == 401
    assert call("HEAD", "/v1/chat/completions").status_code == 405


def test_two_endpoints_for_one_path_and_method_are_our_own_bug() -> None:
    async def answer(*_: Any) -> ASGIApp:
        raise NotImplementedError

    endpoints = [Endpoint("/a", answer)] * 2
    with pytest.raises(AssertionError, match="two endpoints"):
        Routing(answer, routes_of(endpoints, OPENAI, [""]), OPENAI)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/healthz", "/healthz/", "/health", "/v1/models/", "/v1/chat/completions/"])
def test_a_slash_at_the_end_means_nothing(path: str) -> None:
    response = call("POST", path, json=ASK) if "chat" in path else call("GET", path)
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/metrics/", "/v1/models/", "/v1/chat/completions/"])
def test_a_slash_at_the_end_opens_nothing(path: str) -> None:
    assert call("GET", path, config=HttpConfig(api_keys=("key",))).status_code in (401, 405)


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/inference/v1/image_generation/accounts/fireworks/models/sdxl", "image"),
        ("/inference/v1/image_generation/accounts/fireworks/models/sdxl/image_to_image", "image"),
        ("/inference/v1/video_generation/accounts/fireworks/models/svd/image_to_video", "video"),
        ("/v1/images/generations", "image"),
        ("/v1/fine_tuning/jobs", "fine-tuning"),
        ("/v1/accounts/me/fineTuningJobs", "fine-tuning"),
        ("/v1/accounts/me/supervisedFineTuningJobs/1", "fine-tuning"),
    ],
)
def test_what_this_server_does_not_do_is_said_in_words(path: str, word: str) -> None:
    """The paths are those of the 0.15 client, of its later ones and of OpenAI's."""
    refused = call("POST", path, content=b"x", headers={"content-type": "multipart/form-data"})
    assert refused.status_code == 404
    assert word in error(refused)["message"]

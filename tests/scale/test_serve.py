"""Models on a real `transformers serve`, asked here and there: the same answers, the same counts."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from foveal.accounting.accounting import Accounting
from foveal.config import Config, HttpConfig, ImageConfig, ServedConfig, UpstreamConfig
from foveal.http.app import create_app
from foveal.serving.elsewhere import ModelsElsewhere
from foveal.serving.in_flight import InFlight
from foveal.serving.served import ServedModels
from tests.media.builders import PATIENT
from tests.scale.serve import INSTALLED, transformers_serve
from tests.scale.test_upstreams import messages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.scale,
    pytest.mark.skipif(not INSTALLED.exists(), reason="make scale installs what transformers serve needs"),
]

GREEDY = {"temperature": 0, "max_tokens": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with transformers_serve(folder) as found:
        yield found


def asked_here(url: str, folder: Path, body: dict[str, Any], path: str = "/v1/chat/completions") -> httpx.Response:
    async def ask() -> httpx.Response:
        settings: dict[str, Any] = {"num_workers": 1} | PATIENT
        upstream = UpstreamConfig(url, dialect="transformers", model=str(folder))
        config = Config(images=ImageConfig(**settings), models=(ServedConfig("far", upstream),))
        accounting = Accounting()
        elsewhere = ModelsElsewhere(config, accounting, InFlight())
        transport = httpx.ASGITransport(create_app(ServedModels(elsewhere.served), HttpConfig(), accounting))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            response = await client.post(path, json={"model": "far", **body})
        await elsewhere.close()
        return response

    return asyncio.run(ask())


def streamed_there(url: str, folder: Path, body: dict[str, Any], path: str) -> list[dict[str, Any]]:
    response = httpx.post(url + path, json={"model": str(folder), **body, "stream": True}, timeout=120)
    return [
        json.loads(line.removeprefix("data: ")) for line in response.text.splitlines() if line.startswith("data: {")
    ]


@pytest.mark.parametrize("size", [None, (90, 60)])
def test_answers_and_counts_are_the_other_servers(url: str, folder: Path, size: tuple[int, int] | None) -> None:
    body = {"messages": messages(size), **GREEDY}
    here, there = asked_here(url, folder, body).json(), streamed_there(url, folder, body, "/chat/completions")
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in there)
    assert here["choices"][0]["message"]["content"] == text != ""
    assert here["choices"][0]["finish_reason"] == there[-1]["choices"][0]["finish_reason"]
    assert here["usage"]["prompt_tokens"] == there[-1]["usage"]["prompt_tokens"]
    assert here["usage"]["completion_tokens"] == there[-1]["usage"]["completion_tokens"]


def test_a_completion_is_the_other_servers(url: str, folder: Path) -> None:
    body = {"prompt": "Once upon a time", **GREEDY}
    here = asked_here(url, folder, body, "/v1/completions").json()
    there = streamed_there(url, folder, body, "/completions")
    assert here["choices"][0]["text"] == "".join(event["choices"][0]["text"] for event in there) != ""
    assert here["usage"]["prompt_tokens"] == there[-1]["usage"]["prompt_tokens"]


@pytest.mark.parametrize("fields", [{"n": 2}, {"logprobs": True}, {"top_k": 3}, {"presence_penalty": 1}])
def test_what_it_would_pass_over_is_refused(url: str, folder: Path, fields: dict[str, Any]) -> None:
    response = asked_here(url, folder, {"messages": messages(None), **fields})
    assert (response.status_code, response.json()["error"]["param"]) == (400, next(iter(fields)))

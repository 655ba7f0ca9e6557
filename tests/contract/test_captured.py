"""Requests captured from published clients, sent again unchanged: path, headers and body."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from foveal.types import Delta
from tests.fakes import FakePipeline
from tests.http.server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWERS = (
    Delta(0, "A red"),
    Delta(0, " square."),
    Delta(0, finish_reason="stop"),
)
PIXEL = "data:image/png;base64,iVBORw0KGgo="
QUESTION = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": PIXEL}},
        ],
    }
]


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with serving(FakePipeline(ANSWERS)) as served:
        yield served.url


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        pytest.param(
            "/inference/v1/completions",
            {"accept": "text/event-stream"},
            {
                "model": "foveal-mini",
                "stream": False,
                "prompt": "USER:<image>\nhi\n\nASSISTANT:",
                "images": ["https://x/a.jpg"],
            },
            id="fireworks-ai 0.15, after a streamed call",
        ),
        pytest.param(
            "/inference/v1/completions",
            {},
            {"model": "foveal-mini", "prompt": ["a <image>", "b"], "images": [[PIXEL], []]},
            id="fireworks-ai 1.x, several prompts",
        ),
        pytest.param(
            "/inference/v1/v1/chat/completions",
            {},
            {"model": "accounts/me/models/eyes", "messages": QUESTION, "stop": None, "n": 1, "temperature": 0.0},
            id="langchain-fireworks",
        ),
        pytest.param(
            "/v1/chat/completions",
            {"x-session-affinity": "abc", "authorization": "Bearer anything"},
            {"model": "foveal-mini", "messages": QUESTION, "max_tokens": 16},
            id="litellm",
        ),
        pytest.param(
            "/v1/chat/completions",
            {},
            {"model": "foveal-mini", "messages": QUESTION, "max_tokens": 16, "min_tokens": 16},
            id="a load tester",
        ),
    ],
)
def test_a_captured_request_is_answered(base_url: str, path: str, headers: dict[str, str], body: Any) -> None:
    response = httpx.post(base_url + path, json=body, headers=headers)
    choice = response.json()["choices"][0]
    assert response.headers["content-type"] == "application/json"
    assert (choice.get("text") or choice["message"]["content"]) == "A red square."
    assert choice["finish_reason"] == "stop"


def test_a_captured_stream_is_answered(base_url: str) -> None:
    body = {"model": "foveal-mini", "messages": QUESTION, "stream": True, "stream_options": {"include_usage": True}}
    with httpx.stream("POST", f"{base_url}/v1/chat/completions", json=body) as response:
        *chunks, done = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    texts = [choice["delta"].get("content", "") for chunk in chunks for choice in json.loads(chunk)["choices"]]
    assert ("".join(texts), done) == ("A red square.", "[DONE]")
    assert json.loads(chunks[-1])["usage"]["total_tokens"] == 14


def test_litellms_list_of_models(base_url: str) -> None:
    models = httpx.get(f"{base_url}/v1/accounts/fireworks/models").json()["models"]
    assert [model["name"] for model in models] == ["accounts/fireworks/models/foveal-mini"]

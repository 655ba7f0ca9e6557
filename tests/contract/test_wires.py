"""The clients of the other wires see what a chat completion says: one picture, one question, one answer.

Greedy answers are compared with the same question asked without any client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.clients.asked import Asked
from tests.contract.pictures import PNG
from tests.contract.serve import KEY, MODEL
from tests.contract.test_clients import Client, run
from tests.media.builders import data_url

if TYPE_CHECKING:
    from tests.contract.serve import Served

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

WIRES = Client("wires.py", "wires", set(), {})
LITELLM = Client("litellm_wires.py", "litellm", set(), {})
ANSWERS = (
    "message", "message, streamed", "response", "response, streamed", "ollama", "ollama, streamed",
    "ollama, generate", "azure",
)  # fmt: skip
EVENTS = [
    "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    "response.output_text.delta", "response.output_text.done", "response.content_part.done",
    "response.output_item.done", "response.completed",
]  # fmt: skip


@pytest.fixture(scope="module")
def asked(served: Served) -> Asked:
    return Asked(
        url=served.url,
        key=KEY,
        model=MODEL,
        alias="",
        picture=data_url(PNG),
        picture_url="",
        broken_picture="",
        question="What is it?",
        prompt="",
        max_tokens=40,
        forced={},
        stop="",
    )


@pytest.fixture(scope="module")
def plain(served: Served, asked: Asked) -> dict[str, Any]:
    """The answer without any client."""
    body = {"model": MODEL, "messages": asked.messages(), "max_tokens": asked.max_tokens, "temperature": 0}
    reply = served.post("/v1/chat/completions", body).json()
    usage = reply["usage"]
    return {
        "text": reply["choices"][0]["message"]["content"],
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
    }


def test_every_client_sees_the_same_answer(asked: Asked, plain: dict[str, Any]) -> None:
    seen = run(WIRES, asked)

    answers = {way: seen[way] for way in ANSWERS}

    assert answers == dict.fromkeys(ANSWERS, plain)


@pytest.mark.parametrize("provider", ["anthropic/", "ollama_chat/"])
def test_litellm_sees_it_through_their_wires(provider: str, asked: Asked, plain: dict[str, Any]) -> None:
    assert run(LITELLM, asked)[provider] == {name: plain[name] for name in ("text", "completion_tokens")}


def test_tokens_are_counted_as_they_are_billed(asked: Asked, plain: dict[str, Any]) -> None:
    assert run(WIRES, asked)["message, tokens"] == plain["prompt_tokens"]


def test_events_come_in_order_and_are_the_clients_own(asked: Asked) -> None:
    assert list(dict.fromkeys(run(WIRES, asked)["response, events"])) == EVENTS


def test_a_conversation_goes_on_without_being_sent_again(asked: Asked) -> None:
    assert run(WIRES, asked)["response, conversation"] == {"grew": True, "items": ["message"]}


@pytest.mark.parametrize("way", ["message, tool", "response, tool"])
def test_a_call_has_arguments_that_fit_its_schema(asked: Asked, way: str) -> None:
    (arguments,) = run(WIRES, asked)[way]
    assert arguments in ({"at": "left"}, {"at": "right"})


def test_models_are_listed(asked: Asked) -> None:
    assert run(WIRES, asked)["ollama, models"] == [f"{MODEL}:latest"]


@pytest.mark.parametrize(
    ("way", "kind"),
    [
        ("message, unknown model", "NotFoundError"),
        ("message, wrong key", "AuthenticationError"),
        ("response, unknown model", "NotFoundError"),
        ("ollama, unknown model", "ResponseError"),
    ],
)
def test_errors_are_the_clients_own(asked: Asked, way: str, kind: str) -> None:
    assert run(WIRES, asked)[way]["error"]["type"] == kind

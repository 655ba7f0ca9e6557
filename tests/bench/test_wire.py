"""The bodies that are sent, and the messages of refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from foveal.bench import wire
from foveal.bench.records import Conversation, Workload

CONVERSATION = Conversation(0, ("data:image/png;base64,AAAA", "data:image/png;base64,BBBB"), ("What?", "And?", "So?"))


def body(workload: Workload, conversation: Conversation = CONVERSATION, *answers: str) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(wire.chat_body(workload, "mini", conversation, answers))
    return decoded


def test_pictures_come_before_the_question() -> None:
    sent = body(Workload(max_tokens=7))
    assert (sent["model"], sent["max_tokens"], sent["stream"], sent["temperature"]) == ("mini", 7, True, 0)
    assert sent["stream_options"] == {"include_usage": True}
    (message,) = sent["messages"]
    assert [part["type"] for part in message["content"]] == ["image_url", "image_url", "text"]
    assert message["content"][1]["image_url"]["url"] == CONVERSATION.images[1]


def test_only_what_openai_knows_is_sent_unless_asked_for() -> None:
    assert "ignore_eos" not in body(Workload())
    assert body(Workload(ignore_eos=True))["ignore_eos"] is True
    assert "stream_options" not in body(Workload(asks_usage=False))


def test_a_later_turn_holds_what_was_said_before() -> None:
    messages = body(Workload(), CONVERSATION, "A dog.", "")["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant", "user"]
    assert [message["content"] for message in messages[1:]] == ["A dog.", "And?", wire.NO_TEXT, "So?"]


def test_without_pictures_a_message_is_text() -> None:
    assert body(Workload(), Conversation(0, (), ("What?",)))["messages"] == [{"role": "user", "content": "What?"}]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b'{"error": {"message": "No such  model", "code": 404}}', "No such model"),
        (b'{"error": "busy"}', "busy"),
        (b'{"object": "error", "message": "too long"}', "too long"),
        (b'{"detail": [{"loc": ["body"]}]}', '[{"loc":["body"]}]'),
        (b"<h1>Bad Gateway</h1>", "<h1>Bad Gateway</h1>"),
        (b"\xff" + b"x" * 200, "�" + "x" * 116 + "..."),
    ],
    ids=["openai", "ollama", "vllm", "fastapi", "proxy", "long"],
)
def test_a_refusal_is_cut_to_its_words(said: bytes, words: str) -> None:
    assert wire.words_of(said) == words

"""An answer with reasoning and calls: from the engine's tokens to its parts, and what ends it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from foveal.accounting.accounting import Accounting
from foveal.conversation.config import ConversationConfig
from foveal.conversation.render import Renderer
from foveal.serving.pipeline import ModelCard, Pipeline
from foveal.types import ChatRequest, Delta, GenerationOptions, SamplingParams, Tool, Usage
from tests.conversation.builders import chat, processor, tokenizer
from tests.serving.test_pipeline import EasyGrammars, ReadyImages, ScriptedEngine, collect, says

THINKER = (
    "{% for m in messages %}<|user|>{{ m.content }}{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>"
    "{% endif %}<|end|>{% endfor %}<|assistant|>"
)
CALL = '<tool_call>\n{"name": "now", "arguments": {"a": 1}}\n</tool_call>'


def answered(text: str, request: ChatRequest) -> tuple[list[Delta], Usage, ScriptedEngine]:
    engine = ScriptedEngine(lambda seed: says(text))
    renderer = Renderer(ConversationConfig("t", THINKER, published=True), tokenizer(), processor())
    card = ModelCard("m", 0, 4096, tokenizer().vocab_size, True, SamplingParams())
    served = Pipeline(card, ReadyImages(), renderer, tokenizer(), EasyGrammars(), Accounting())
    served.attach(engine)
    served.card = replace(served.card, context_length=4096)
    deltas, usage = asyncio.run(collect(served, request))
    return deltas, usage, engine


def test_reasoning_is_told_apart_and_counted() -> None:
    deltas, usage, _ = answered("<think>Hm.</think>Yes.", chat(("user", "Q")))

    assert "".join(delta.reasoning for delta in deltas) == "Hm."
    assert "".join(delta.text for delta in deltas) == "Yes."
    assert usage.reasoning_tokens == len(">Hm.</think>")  # from the end of the first mark, with the other
    assert deltas[-1].finish_reason == "stop"


def test_an_answer_that_calls_ends_with_its_calls() -> None:
    deltas, _, engine = answered(f"<think>Hm.</think>So: {CALL}", replace(chat(("user", "Q")), tools=(Tool("now"),)))

    calls = [call for delta in deltas for call in delta.tool_calls]
    assert [call.name for call in calls if call.id] == ["now"]
    assert "".join(call.arguments for call in calls) == '{"a": 1}'
    assert "".join(delta.text for delta in deltas) == "So:"
    assert deltas[-1].finish_reason == "tool_calls"
    assert engine.sampling[0].grammar is not None


@pytest.mark.parametrize(
    ("stop", "text", "num_calls", "reason", "ended_by"),
    [
        ('"a"', "So: The end of it", 1, "tool_calls", None),
        ("So", "", 0, "stop", "So"),
        ("end", "So: The ", 1, "tool_calls", None),
    ],
)
def test_a_stop_string_cuts_no_call(stop: str, text: str, num_calls: int, reason: str, ended_by: str | None) -> None:
    request = replace(chat(("user", "Q")), tools=(Tool("now"),), options=GenerationOptions(stop=(stop,)))

    deltas, _, engine = answered(f"So: {CALL} The end of it", request)

    assert "".join(delta.text for delta in deltas) == text
    assert sum(call.is_last for delta in deltas for call in delta.tool_calls) == num_calls
    assert (deltas[-1].finish_reason, deltas[-1].stop) == (reason, ended_by)
    assert engine.running == 0


def test_without_tools_what_looks_like_a_call_is_text() -> None:
    deltas, _, engine = answered(CALL, chat(("user", "Q")))

    assert "".join(delta.text for delta in deltas) == CALL
    assert deltas[-1].finish_reason == "stop"
    assert engine.sampling[0].grammar is None


def test_each_token_is_in_exactly_one_delta() -> None:
    text = f"<think>Hm.</think>So: {CALL} Well"
    deltas, usage, _ = answered(text, replace(chat(("user", "Q")), tools=(Tool("now"),)))

    assert sum(len(delta.token_ids) for delta in deltas) == usage.completion_tokens == len(text) + 1

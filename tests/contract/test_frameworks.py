"""Frameworks that ask for tools and schemas in ways of their own: what they make of our answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.contract.test_clients import Client, asked, run
from tests.contract.test_tools import is_shape

if TYPE_CHECKING:
    from tests.contract.clients.asked import Asked

__all__ = ["asked"]  # the fixture
pytestmark = [pytest.mark.clients, pytest.mark.timeout(180)]

GUIDANCE = Client("guidance_programs.py", "guidance", set(), {})
HAYSTACK = Client("haystack_chat.py", "haystack", set(), {})
INSTRUCTOR = Client("instructor_modes.py", "instructor", set(), {})
LANGCHAIN_FOR_NODE = Client("langchain.mjs", "node", set(), {})
LITELLM = Client("litellm_wires.py", "litellm", set(), {})
LLAMA_INDEX = Client("llama_index_outputs.py", "llama_index", set(), {})
LLM = Client("llm_prompts.py", "llm", set(), {})
PYDANTIC_AI = Client("pydantic_ai_outputs.py", "pydantic_ai", set(), {})
SMOLAGENTS = Client("smolagents_tools.py", "smolagents", set(), {})
AI_SDK = Client("ai_sdk_openai.mjs", "node", set(), {})

SHAPES = {
    "ai sdk": (AI_SDK, ["object", "object, streamed", "tool", "tool, streamed"]),
    "guidance": (GUIDANCE, ["structured"]),
    "haystack": (HAYSTACK, ["structured", "tool", "tool, streamed"]),
    "instructor": (INSTRUCTOR, ["FUNCTIONS", "TOOLS", "TOOLS_STRICT", "JSON_SCHEMA", "RESPONSES_TOOLS"]),
    "langchain for Node": (
        LANGCHAIN_FOR_NODE,
        [
            f"{wire}: {way}"
            for wire in ("chat", "responses")
            for way in ("structured by a schema", "structured by a tool", "tool")
        ],
    ),
    "litellm": (
        LITELLM,
        [
            *(f"{provider}/, a tool" for provider in ("openai", "anthropic")),
            *(f"{provider}/, a class" for provider in ("openai", "anthropic", "ollama_chat")),
            "responses, a tool",
            "messages, a tool",
        ],
    ),
    "llama-index": (LLAMA_INDEX, ["structured", "tool"]),
    "llm": (LLM, ["structured"]),
    "pydantic-ai": (
        PYDANTIC_AI,
        [
            f"{wire}: {way}"
            for wire in ("chat", "responses")
            for way in ("tool output", "tool output, streamed", "native output", "tool")
        ],
    ),
}
WAYS = [pytest.param(client, way, id=f"{name}: {way}") for name, (client, ways) in SHAPES.items() for way in ways]


@pytest.mark.parametrize(("client", "way"), WAYS)
def test_the_shape_that_is_asked_for_has_its_fields(client: Client, way: str, asked: Asked) -> None:
    seen = run(client, asked)[way]

    assert is_shape(seen), seen


@pytest.mark.parametrize(
    ("client", "way"),
    [(AI_SDK, "text"), (AI_SDK, "text, streamed"), (GUIDANCE, "plain"), (LLM, "plain"), (LLM, "a tool is offered")],
)
def test_a_plain_answer_is_text(client: Client, way: str, asked: Asked) -> None:
    seen = run(client, asked)[way]

    assert isinstance(seen, str), seen
    assert seen


@pytest.mark.parametrize("wire", ["chat", "responses"])
def test_langchain_for_node_sends_the_result_of_a_call(wire: str, asked: Asked) -> None:
    assert run(LANGCHAIN_FOR_NODE, asked)[f"{wire}: a result"] == "string"


def test_an_agent_of_smolagents_gets_a_call_of_one_of_its_tools(asked: Asked) -> None:
    (call,) = run(SMOLAGENTS, asked)["agent"]

    expected = {"shape": {"name", "sides"}, "final_answer": {"answer"}}
    assert call["arguments"].keys() == expected[call["name"]]


def test_a_model_of_smolagents_gets_the_call_that_it_requires(asked: Asked) -> None:
    (call,) = run(SMOLAGENTS, asked)["model"]

    assert call["name"] == "shape"
    assert is_shape(json.loads(call["arguments"]))

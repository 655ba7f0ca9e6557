"""LiteLLM, which speaks the wires of Anthropic, Ollama and OpenAI to a server: texts, tools, classes."""

from __future__ import annotations

import functools
import json
from typing import Any

import litellm

from tests.contract.clients.asked import asked, report
from tests.contract.clients.shape import DESCRIPTION, MAX_TOKENS, NAME, Shape

ASKED = asked()
litellm.suppress_debug_info = True  # which it prints where the report goes
BASES = {"openai": f"{ASKED.url}/v1", "anthropic": ASKED.url, "ollama_chat": ASKED.url}
FIELDS: dict[str, Any] = {
    "messages": ASKED.messages(),
    "max_tokens": ASKED.max_tokens,
    "temperature": 0,
    "api_key": ASKED.key,
    "max_retries": 0,
}
SCHEMA = Shape.model_json_schema()
FUNCTION = {"name": NAME, "description": DESCRIPTION, "parameters": SCHEMA}
NAMED = {"type": "function", "function": {"name": NAME}}


def complete(provider: str, **fields: Any) -> Any:
    return litellm.completion(model=f"{provider}/{ASKED.model}", api_base=BASES[provider], **FIELDS | fields)


def chat(provider: str) -> dict[str, object]:
    reply = complete(provider)
    return {"text": reply.choices[0].message.content, "completion_tokens": reply.usage.completion_tokens}


def called(provider: str) -> object:
    tools = [{"type": "function", "function": FUNCTION}]
    (call,) = complete(provider, tools=tools, tool_choice=NAMED, max_tokens=MAX_TOKENS).choices[0].message.tool_calls
    return json.loads(call.function.arguments)


def structured(provider: str) -> object:
    return json.loads(complete(provider, response_format=Shape, max_tokens=MAX_TOKENS).choices[0].message.content)


def of_responses() -> object:
    response = litellm.responses(
        model=f"openai/{ASKED.model}",
        api_base=BASES["openai"],
        api_key=ASKED.key,
        input=ASKED.question,
        max_output_tokens=MAX_TOKENS,
        tools=[{"type": "function", **FUNCTION}],
        tool_choice={"type": "function", "name": NAME},
    )
    (call,) = [item for item in response.output if item.type == "function_call"]
    return json.loads(call.arguments)


async def of_messages() -> object:
    message: Any = await litellm.anthropic.messages.acreate(
        model=f"anthropic/{ASKED.model}",
        api_base=BASES["anthropic"],
        api_key=ASKED.key,
        messages=[{"role": "user", "content": ASKED.question}],
        max_tokens=MAX_TOKENS,
        tools=[{"name": NAME, "description": DESCRIPTION, "input_schema": SCHEMA}],
        tool_choice={"type": "tool", "name": NAME},
    )
    (call,) = [block for block in message["content"] if block["type"] == "tool_use"]
    return call["input"]


report(
    {f"{provider}/": functools.partial(chat, provider) for provider in ("anthropic", "ollama_chat")}
    | {f"{provider}/, a tool": functools.partial(called, provider) for provider in ("openai", "anthropic")}
    | {f"{provider}/, a class": functools.partial(structured, provider) for provider in BASES}
    | {"responses, a tool": of_responses, "messages, a tool": of_messages}
)

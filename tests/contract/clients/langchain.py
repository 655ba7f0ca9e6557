"""LangChain: ChatFireworks and ChatOpenAI, each at the base URL that its documentation gives."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_fireworks import ChatFireworks
from langchain_openai import ChatOpenAI

from tests.contract.clients.asked import Asked, Way, asked, report

ASKED = asked()


def as_reply(message: AIMessage) -> dict[str, Any]:
    """LangChain's message with the wire's names."""
    usage = message.usage_metadata or {}
    return {
        "model": message.response_metadata["model_name"],
        "choices": [
            {
                "index": 0,
                "message": {"content": message.content},
                "finish_reason": message.response_metadata["finish_reason"],
                "logprobs": message.response_metadata.get("logprobs"),
            }
        ],
        "usage": {
            "prompt_tokens": usage.get("input_tokens"),
            "completion_tokens": usage.get("output_tokens"),
            "total_tokens": usage.get("total_tokens"),
        },
    }


def joined(chunks: list[AIMessageChunk]) -> dict[str, Any]:
    """A stream as LangChain adds it up."""
    return as_reply(functools.reduce(operator.add, chunks))


def ways(asked: Asked, connect: Callable[..., Any]) -> dict[str, Way]:
    """`connect` makes a chat model, given what both kinds take."""
    settings = {"api_key": asked.key, "model": asked.model, "max_tokens": asked.max_tokens, "max_retries": 0}
    chat, chat_without_usage = (connect(**settings, stream_usage=wanted) for wanted in (True, False))
    messages = asked.messages()

    def invoke(**fields: object) -> object:
        return as_reply(chat.invoke(messages, logit_bias=asked.forced, **fields))

    def stream(by: Any) -> object:
        return joined(list(by.stream(messages, logit_bias=asked.forced)))

    async def invoke_async() -> object:
        return as_reply(await chat.ainvoke(messages, logit_bias=asked.forced))

    async def stream_async() -> object:
        stream = chat_without_usage.astream(messages, logit_bias=asked.forced)
        return joined([chunk async for chunk in stream])

    return {
        "chat": invoke,
        "chat, streamed": lambda: stream(chat_without_usage),  # the last chunk of a choice has the usage all the same
        "chat, usage asked for": lambda: stream(chat),
        "chat, async": invoke_async,
        "chat, async, streamed": stream_async,
        "picture by URL": lambda: as_reply(chat.invoke(asked.messages(asked.picture_url), logit_bias=asked.forced)),
        "stop": lambda: invoke(stop=[asked.stop]),
        "logprobs": lambda: invoke(logprobs=True, top_logprobs=2),
        "alias": lambda: invoke(model=asked.alias),
        "unknown model": lambda: connect(**settings | {"model": "nowhere"}).invoke(messages),
        "broken picture": lambda: chat.invoke(asked.messages(asked.broken_picture)),
        "unknown field": lambda: chat.invoke(messages, extra_body={"colour": "red"}),
        "wrong key": lambda: connect(**settings | {"api_key": "wrong"}).invoke(messages),
    }


report(
    {
        f"{name}: {way}": ask
        for name, connect in {
            "langchain-fireworks": functools.partial(ChatFireworks, base_url=f"{ASKED.url}/inference/v1"),
            "langchain-openai": functools.partial(ChatOpenAI, base_url=f"{ASKED.url}/v1"),
        }.items()
        for way, ask in ways(ASKED, connect).items()
    }
)

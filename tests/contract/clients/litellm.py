"""LiteLLM, which speaks to a server of ours as to Fireworks (`fireworks_ai/`) or to OpenAI (`openai/`)."""

from __future__ import annotations

import functools
from typing import Any

import litellm

from tests.contract.clients.asked import Asked, Way, asked, report

ASKED = asked()
litellm.suppress_debug_info = True  # which it prints where the report goes
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}  # else it keeps the usage to itself


def ways(asked: Asked, provider: str) -> dict[str, Way]:
    connection = {"api_base": f"{asked.url}/v1", "api_key": asked.key, "max_retries": 0}
    fields: dict[str, Any] = {
        "model": f"{provider}/{asked.model}",
        "messages": asked.messages(),
        "max_tokens": asked.max_tokens,
        "logit_bias": asked.forced,
        **connection,
    }
    chat = functools.partial(litellm.completion, **fields)
    chat_async = functools.partial(litellm.acompletion, **fields)
    return {
        "chat": chat,
        "chat, streamed": lambda: list(chat(**STREAMED)),
        "chat, async": chat_async,
        "chat, async, streamed": lambda: chat_async(**STREAMED),
        "picture by URL": lambda: chat(messages=asked.messages(asked.picture_url)),
        "two choices": lambda: chat(n=2),
        "stop": lambda: chat(stop=[asked.stop]),
        "logprobs": lambda: chat(logprobs=True, top_logprobs=2),
        "alias": lambda: chat(model=f"{provider}/{asked.alias}"),
        "unknown model": lambda: chat(model=f"{provider}/nowhere"),
        "broken picture": lambda: chat(messages=asked.messages(asked.broken_picture)),
        "unknown field": lambda: chat(extra_body={"colour": "red"}),
        "wrong key": lambda: chat(api_key="wrong"),
    }


def text_completion_ways(asked: Asked) -> dict[str, Way]:
    complete = functools.partial(
        litellm.text_completion,
        model=f"text-completion-openai/{asked.model}",
        prompt=asked.prompt,
        max_tokens=asked.max_tokens,
        logit_bias=asked.forced,
        extra_body={"images": [asked.picture]},
        api_base=f"{asked.url}/v1",
        api_key=asked.key,
    )
    return {"completion": complete, "completion, streamed": lambda: list(complete(**STREAMED))}


report(
    {
        f"{provider}/: {way}": ask
        for provider in ("fireworks_ai", "openai")
        for way, ask in ways(ASKED, provider).items()
    }
    | {f"text-completion-openai/: {way}": ask for way, ask in text_completion_ways(ASKED).items()}
)

"""LiteLLM, which speaks Anthropic's and Ollama's wires to a server, too."""

from __future__ import annotations

import functools
from typing import Any

import litellm

from tests.contract.clients.asked import asked, report

ASKED = asked()
litellm.suppress_debug_info = True  # which it prints where the report goes
FIELDS: dict[str, Any] = {
    "messages": ASKED.messages(),
    "max_tokens": ASKED.max_tokens,
    "temperature": 0,
    "api_key": ASKED.key,
    "max_retries": 0,
}


def chat(provider: str) -> dict[str, object]:
    reply = litellm.completion(model=f"{provider}/{ASKED.model}", api_base=ASKED.url, **FIELDS)
    return {"text": reply.choices[0].message.content, "completion_tokens": reply.usage.completion_tokens}


report({f"{provider}/": functools.partial(chat, provider) for provider in ("anthropic", "ollama_chat")})

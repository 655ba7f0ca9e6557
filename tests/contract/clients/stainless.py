"""The ways to ask that `openai.OpenAI` and fireworks-ai 1.x's `fireworks.Fireworks` share, since one generator wrote
both: what differs between the two is given by whoever calls `ways`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.contract.clients.asked import Asked, Way


def ways(
    asked: Asked,
    connect: Callable[..., Any],
    connect_async: Callable[..., Any],
    with_images: Callable[[list[Any]], Mapping[str, Any]],
) -> dict[str, Way]:
    """`connect` makes a client, given api_key; `with_images` gives the arguments that hand images to a completion."""
    client, client_async = connect(api_key=asked.key), connect_async(api_key=asked.key)
    forced = {"model": asked.model, "max_tokens": asked.max_tokens, "logit_bias": asked.forced}
    chat_fields = {"messages": asked.messages(), **forced}
    completion_fields = {"prompt": asked.prompt, **forced, **with_images([asked.picture])}

    def chat(**fields: object) -> object:
        return client.chat.completions.create(**chat_fields | fields)

    def complete(**fields: object) -> object:
        return client.completions.create(**completion_fields | fields)

    def chat_async(**fields: object) -> object:
        return client_async.chat.completions.create(**chat_fields, **fields)

    def complete_async(**fields: object) -> object:
        return client_async.completions.create(**completion_fields, **fields)

    return {
        "chat": chat,
        "chat, streamed": lambda: chat(stream=True),
        "chat, include_usage": lambda: chat(stream=True, extra_body={"stream_options": {"include_usage": True}}),
        "chat, async": chat_async,
        "chat, async, streamed": lambda: chat_async(stream=True),
        "completion": complete,
        "completion, streamed": lambda: complete(stream=True),
        "completion, async": complete_async,
        "completion, async, streamed": lambda: complete_async(stream=True),
        "picture by URL": lambda: chat(messages=asked.messages(asked.picture_url)),
        "two choices": lambda: chat(n=2),
        "two choices, streamed": lambda: chat(n=2, stream=True),
        "two prompts": lambda: complete(prompt=[asked.prompt, "b"], **with_images([[asked.picture], []])),
        "stop": lambda: chat(stop=[asked.stop]),
        "logprobs": lambda: chat(logprobs=True, top_logprobs=2),
        "legacy logprobs": lambda: complete(logprobs=2),
        "alias": lambda: chat(model=asked.alias),
        "unknown model": lambda: chat(model="nowhere"),
        "broken picture": lambda: chat(messages=asked.messages(asked.broken_picture)),
        "unknown field": lambda: chat(extra_body={"colour": "red"}),
        "wrong key": lambda: connect(api_key="wrong").chat.completions.create(**chat_fields),
    }

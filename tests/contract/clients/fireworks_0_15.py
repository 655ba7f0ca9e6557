"""fireworks-ai 0.15, the client of the older documentation: module-wide settings, `Completion` with `images=`."""

from __future__ import annotations

import functools

import fireworks.client
from fireworks.client import ChatCompletion, Completion, Model

from tests.contract.clients.asked import asked, report

ASKED = asked()

fireworks.client.base_url = f"{ASKED.url}/inference/v1"
fireworks.client.api_key = ASKED.key
FORCED = {"max_tokens": ASKED.max_tokens, "logit_bias": ASKED.forced}
CHAT = {"model": ASKED.model, "messages": ASKED.messages(), **FORCED}
COMPLETION = {"model": ASKED.model, "prompt": ASKED.prompt, "images": [ASKED.picture], **FORCED}

chat = functools.partial(ChatCompletion.create, **CHAT)
complete = functools.partial(Completion.create, **COMPLETION)


def ask_with_wrong_key() -> object:
    with fireworks.client.Fireworks(api_key="wrong") as client:
        return client.chat.completions.create(**CHAT)


report(
    {
        "chat": chat,
        "chat, streamed": lambda: chat(stream=True),
        "chat after a stream": chat,
        "chat, async": lambda: ChatCompletion.acreate(**CHAT),
        "chat, async, streamed": lambda: ChatCompletion.acreate(**CHAT, stream=True),
        "completion": complete,
        "completion, streamed": lambda: complete(stream=True),
        "completion, async": lambda: Completion.acreate(**COMPLETION),
        "completion, async, streamed": lambda: Completion.acreate(**COMPLETION, stream=True),
        "picture by URL": lambda: chat(messages=ASKED.messages(ASKED.picture_url)),
        "completion, picture by URL": lambda: complete(images=[ASKED.picture_url]),
        "two choices": lambda: chat(n=2),
        "stop": lambda: chat(stop=[ASKED.stop]),
        "logprobs": lambda: chat(logprobs=True, top_logprobs=2),
        "legacy logprobs": lambda: complete(logprobs=2),
        "alias": lambda: chat(model=ASKED.alias),
        "models": Model.list,
        "unknown model": lambda: chat(model="nowhere"),
        "broken picture": lambda: complete(images=[ASKED.broken_picture]),
        "unknown field": lambda: chat(colour="red"),
        "wrong key": ask_with_wrong_key,
    }
)

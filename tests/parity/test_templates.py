"""Conversations are written as the reference library's own templates write them, where it holds one."""

from __future__ import annotations

import jinja2
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

from foveal.conversation.config import load_conversation
from foveal.conversation.template import Template
from foveal.types import ImageRef, Message, Role

TURNS: list[tuple[Role, list[str | None]]] = [  # None: an image
    ("system", ["S"]),
    ("user", [None, "Q1"]),
    ("assistant", ["A1"]),
    ("user", ["Q2 ", None, " and ", None]),
]


def test_smolvlm() -> None:
    config = load_conversation("smolvlm")
    messages = tuple(Message(role, tuple(_part(x) for x in parts)) for role, parts in TURNS)
    segments = Template(config).render(messages)

    written = "<|im_start|>" + "<image>".join("".join(run.text for run in segment) for segment in segments)

    reference = [{"role": role, "content": [_reference_part(x) for x in parts]} for role, parts in TURNS]
    template = jinja2.Environment().from_string(DEFAULT_CHAT_TEMPLATE)
    assert written == template.render(messages=reference, add_generation_prompt=True)


def _part(part: str | None) -> str | ImageRef:
    return ImageRef("", 1) if part is None else part


def _reference_part(part: str | None) -> dict[str, str]:
    return {"type": "image"} if part is None else {"type": "text", "text": part.strip()}

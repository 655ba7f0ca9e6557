"""Answers that a client has begun: where the last message is the assistant's, some dialects go on from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal.types import Message


def begun(messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], bool]:
    """The messages, and whether the last one has begun the answer. One that says nothing is left out."""
    *before, last = messages
    if last.role != "assistant":
        return messages, False
    is_empty = not any(last.content) and not last.tool_calls
    return (tuple(before), False) if is_empty else (messages, True)

"""The result of rendering a request, in one record, so that a request is rendered once.

Records only; render.py fills them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from foveal.types import Prompt


@dataclass(frozen=True, slots=True)
class EchoedPrompt:
    """The part of a prompt that each answer begins with."""

    text: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A request as a prompt, with what is needed to turn its output tokens into text."""

    prompt: Prompt
    fragments: Callable[[], list[str | int]]
    """The prompt before it was tokenised: text, image marks, and the ids of tokens given by id. Rarely needed."""
    stop: tuple[str, ...] = ()  # texts that end an answer
    warnings: tuple[str, ...] = ()  # what the client should know, though the request is answered
    echo: EchoedPrompt | None = None
    continues: bool = False  # an answer's text continues the prompt's

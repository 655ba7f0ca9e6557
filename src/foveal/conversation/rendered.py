"""What a request is to a model: all that one visit to this folder yields, so that nobody has to come back for more.

Records alone; `render` fills them.
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
    """A request as its model reads it, and what its answers are read with."""

    prompt: Prompt
    fragments: Callable[[], list[str | int]]
    """The prompt before it was tokenised: text, image marks, and the ids of tokens given by id. Few requests ask."""
    stop: tuple[str, ...] = ()  # texts that end an answer
    warnings: tuple[str, ...] = ()  # what the client should know, though the request is answered
    echo: EchoedPrompt | None = None
    continues: bool = False  # an answer's text goes on from the prompt's: a completion

"""Leaves out the oldest turns of a chat until its prompt fits. System messages at the start stay.

A turn begins with a message of the user. The renderer, not this module, counts tokens.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

from foveal.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foveal.types import ChatRequest, Image, Prompt

    Rendering = Callable[[ChatRequest, Sequence[Image]], Prompt]
    Bound = Callable[[ChatRequest, int], bool]  # whether a chat surely has more tokens than that


def without_oldest_turns(
    request: ChatRequest, images: Sequence[Image], allowed: int, render: Rendering, exceeds: Bound
) -> tuple[ChatRequest, Prompt]:
    """The chat without its oldest turns, so that it has at most `allowed` tokens, and its prompt.

    Turns are found by binary search, which calls `render` once a step. Raises InvalidRequest if the last turn alone
    is too long.
    """
    fitting: list[tuple[ChatRequest, Prompt]] = []  # each is longer than the one before

    def fits(start: int) -> bool:
        kept, shown = _from(request, images, start)
        if exceeds(kept, allowed):
            return False
        prompt = render(kept, shown)
        if len(prompt.token_ids) > allowed:
            return False
        fitting.append((kept, prompt))
        return True

    bisect_left(_turn_starts(request), True, key=fits)
    if not fitting:
        raise InvalidRequest(
            f"The last turn alone takes more than {allowed} tokens, which are all that a prompt may have here: shorten "
            "the message, or allow longer prompts where the model's context has room for them.",
            param="messages",
        )
    return fitting[-1]


def _num_lasting(request: ChatRequest) -> int:
    """The number of system messages at the start, which always stay."""
    return sum(1 for _ in takewhile(lambda message: message.role == "system", request.messages))


def _turn_starts(request: ChatRequest) -> list[int]:
    """The indices at which the kept messages may begin, from the first turn to the last."""
    head = _num_lasting(request)
    later = range(head + 1, len(request.messages))
    return [head, *(index for index in later if request.messages[index].role == "user")]


def _from(request: ChatRequest, images: Sequence[Image], start: int) -> tuple[ChatRequest, list[Image]]:
    kept = replace(request, messages=request.messages[: _num_lasting(request)] + request.messages[start:])
    positions = {ref.position for ref in kept.image_refs}
    pairs = zip(request.image_refs, images, strict=True)
    return kept, [image for ref, image in pairs if ref.position in positions]

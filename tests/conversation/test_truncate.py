"""Chats that are cut to a number of tokens: which messages and images are left."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from foveal.conversation.truncate import without_oldest_turns
from foveal.errors import InvalidRequest
from foveal.types import ChatRequest, Image, Message, Prompt, PromptImage
from tests.conversation.builders import IMAGE, chat, images

TALK = chat(
    ("system", "S"),
    ("user", ["one", IMAGE]),
    ("assistant", "1"),
    ("assistant", "still 1"),
    ("user", ["two", IMAGE, IMAGE]),
    ("user", [IMAGE]),
    ("assistant", "3"),
    ("user", "four"),
)


def ten_tokens_a_message(request: ChatRequest, images: Sequence[Image]) -> Prompt:
    return Prompt((0,) * 10 * len(request.messages), tuple(PromptImage(image, (), 0) for image in images))


def no_bound(request: ChatRequest, limit: int) -> bool:
    return False


def cut(request: ChatRequest, allowed: int) -> tuple[tuple[Message, ...], list[int]]:
    """The messages that are left, and the numbers of the images that are left."""
    pictures = images(len(request.image_refs))
    kept, prompt = without_oldest_turns(request, pictures, allowed, ten_tokens_a_message, no_bound)
    assert len(prompt.token_ids) == 10 * len(kept.messages)
    return kept.messages, [pictures.index(placed.image) for placed in prompt.images]


@pytest.mark.parametrize(
    ("allowed", "kept", "pictures"),
    [
        (1000, [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3]),
        (80, [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3]),
        (79, [0, 4, 5, 6, 7], [1, 2, 3]),
        (50, [0, 4, 5, 6, 7], [1, 2, 3]),
        (49, [0, 5, 6, 7], [3]),
        (39, [0, 7], []),
        (20, [0, 7], []),
    ],
)
def test_the_oldest_turns_go_with_their_images_and_the_system_message_stays(
    allowed: int, kept: list[int], pictures: list[int]
) -> None:
    assert cut(TALK, allowed) == (tuple(TALK.messages[index] for index in kept), pictures)


@pytest.mark.parametrize("allowed", [1000, 80, 50, 49, 20])
def test_no_candidate_is_rendered_twice(allowed: int) -> None:
    rendered = []

    def render(request: ChatRequest, images: Sequence[Image]) -> Prompt:
        rendered.append(request.messages)
        return ten_tokens_a_message(request, images)

    kept, _ = without_oldest_turns(TALK, images(len(TALK.image_refs)), allowed, render, no_bound)
    assert rendered.count(kept.messages) == 1
    assert len(rendered) == len(set(rendered))


@pytest.mark.parametrize("request_", [TALK, chat(("assistant", "a"), ("system", "b"))])
def test_a_last_turn_that_is_too_long_alone_is_refused(request_: ChatRequest) -> None:
    with pytest.raises(InvalidRequest, match="last turn alone") as caught:
        cut(request_, 19)
    assert caught.value.param == "messages"


def test_a_chat_that_surely_is_too_long_is_not_rendered() -> None:
    rendered = []

    def render(request: ChatRequest, images: Sequence[Image]) -> Prompt:
        rendered.append(len(request.messages))
        return ten_tokens_a_message(request, images)

    def exceeds(request: ChatRequest, limit: int) -> bool:
        return len(request.messages) * 10 > limit

    kept, _ = without_oldest_turns(TALK, images(len(TALK.image_refs)), 50, render, exceeds)
    assert len(kept.messages) == 5
    assert max(rendered) == 5

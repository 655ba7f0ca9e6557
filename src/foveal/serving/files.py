"""Puts what was read of files and images in their places. Pure; knows nothing of formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from foveal.types import ChatRequest, ImageRef


def with_files(request: ChatRequest, parts: Sequence[Sequence[str | ImageRef]]) -> ChatRequest:
    """`parts[i]` stand for `request.file_refs[i]`. The images are numbered again, since a file may have several."""
    read, positions = iter(parts), count(1)

    def placed(part: str | ImageRef) -> list[str | ImageRef]:
        found = next(read) if isinstance(part, ImageRef) and part.file is not None else [part]
        return [replace(each, position=next(positions)) if isinstance(each, ImageRef) else each for each in found]

    messages = tuple(
        replace(message, content=tuple(each for part in message.content for each in placed(part)))
        for message in request.messages
    )
    return replace(request, messages=messages)


def with_images(request: ChatRequest, images: Sequence[ImageRef]) -> ChatRequest:
    """`images[i]` stands for `request.image_refs[i]`."""
    read = iter(images)
    messages = tuple(
        replace(message, content=tuple(next(read) if isinstance(part, ImageRef) else part for part in message.content))
        for message in request.messages
    )
    return replace(request, messages=messages)

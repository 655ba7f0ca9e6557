"""What a client has to ask, and how it reports the answers.

A client's program runs in an environment of its own, where neither Foveal nor its tests' requirements are installed:
`python -m tests.contract.clients.NAME '{"url": ...}'`. It asks in every way that its users have and prints what its
library made of the answers, as JSON. It judges nothing: that is test_clients.py's part.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Way = Callable[[], object]


@dataclass(frozen=True)
class Asked:
    """The questions. `forced` makes the answer known beforehand: it is the logit_bias that lets one token win."""

    url: str  # http://host:port, without a path
    key: str
    model: str
    alias: str
    picture: str  # a data URL
    picture_url: str
    broken_picture: str
    question: str
    prompt: str  # with one <image>
    max_tokens: int
    forced: Mapping[str, int]
    stop: str

    def messages(self, picture: str | None = None) -> list[dict[str, Any]]:
        """One user's turn: the picture (another one, if given), then the question."""
        image = {"type": "image_url", "image_url": {"url": picture or self.picture}}
        return [{"role": "user", "content": [image, {"type": "text", "text": self.question}]}]


def asked() -> Asked:
    """What the command line says."""
    return Asked(**json.loads(sys.argv[1]))


def report(ways: Mapping[str, Way]) -> None:
    """Ask in every way, and print {way: what was seen}: a reply, the list of a stream's chunks, or an error."""
    print(json.dumps(asyncio.run(_attempt_all(ways))))


async def _attempt_all(ways: Mapping[str, Way]) -> dict[str, object]:
    """All in one event loop, since a client's connections belong to one."""
    return {way: await _attempt(ask) for way, ask in ways.items()}


async def _attempt(ask: Way) -> object:
    try:
        answer = ask()
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, AsyncIterator):
            return [_plain(chunk) async for chunk in answer]
        return _plain(answer)
    except Exception as error:  # whatever a client raises is what its user meets
        return {"error": {"type": type(error).__name__, "message": str(error)}}


def _plain(answer: object) -> object:
    """Pydantic models as dictionaries, streams as lists."""
    if isinstance(answer, list | Iterator):
        return [_plain(chunk) for chunk in answer]
    return answer.model_dump(mode="json") if hasattr(answer, "model_dump") else answer

"""Tokens of a prompt, as the server that runs the model makes them. Of text alone: no server tells them of images."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from foveal.errors import InvalidRequest
from foveal.types import ChatRequest
from foveal.upstream.body import prompt_body
from foveal.upstream.client import broken
from foveal.upstream.known import KNOWN

if TYPE_CHECKING:
    from foveal.types import CompletionRequest
    from foveal.upstream.known import Dialect

T = TypeVar("T")

Ask = Callable[[str, bytes], Awaitable[bytes]]
"""`Upstream.ask`: a path and a body -> the answer."""


class Tokens(msgspec.Struct):
    tokens: list[int]


class Prompt(msgspec.Struct):
    prompt: str


def check_countable(request: ChatRequest | CompletionRequest, dialect: Dialect) -> None:
    """Raises InvalidRequest."""
    if KNOWN[dialect].counting is None:
        raise InvalidRequest("Another server runs this model, and has no way to count the tokens of a prompt.")
    if request.image_refs:
        raise InvalidRequest("Another server runs this model, and counts the tokens of text alone: leave out images.")


async def token_ids(
    ask: Ask, request: ChatRequest | CompletionRequest, model: str, dialect: Dialect
) -> tuple[int, ...]:
    """Of a request that `check_countable` has passed. Raises RequestError."""
    if not isinstance(request, ChatRequest):
        return request.prompt if isinstance(request.prompt, tuple) else await _of_text(ask, request.prompt, model)
    body = prompt_body(request, model, dialect)
    if KNOWN[dialect].counting == "of chats":
        return tuple(_read(await ask("/tokenize", body), Tokens).tokens)
    return await _of_text(ask, _read(await ask("/apply-template", body), Prompt).prompt, model)


async def _of_text(ask: Ask, text: str, model: str) -> tuple[int, ...]:
    """The field is `prompt` for vLLM and `content` for llama-server. Special tokens count as such, as in an answer."""
    body = {"model": model, "prompt": text, "content": text, "add_special": True, "parse_special": True}
    return tuple(_read(await ask("/tokenize", msgspec.json.encode(body)), Tokens).tokens)


def _read(said: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(said, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise broken() from None

"""POST chat/completions: the server formats the prompt."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from foveal.http.dialects.docs import EXAMPLE_IMAGE_URL
from foveal.http.dialects.generation import Generation
from foveal.http.dialects.openai.calls import with_calls, with_pieces
from foveal.http.dialects.openai.docs import generation_docs
from foveal.http.dialects.openai.parse import chat_request, isolated
from foveal.http.dialects.openai.replies import ChatChunk, ChatCompletion
from foveal.http.dialects.openai.schemas import ChatBody
from foveal.http.dialects.openai.writer import Choice, Format, writer_for
from foveal.http.endpoint import Endpoint

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.http.dialects.openai.replies import (
        AnswerMessage,
        ChatChoice,
        ChatChunkChoice,
        ChatDelta,
        ChatFinishReason,
    )
    from foveal.http.endpoint import Context

EXAMPLE = {
    "model": "foveal-mini",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": EXAMPLE_IMAGE_URL}},
                {"type": "text", "text": "What shape is it?"},
            ],
        }
    ],
    "max_tokens": 64,
}


async def create_chat_completion(request: Request, context: Context) -> ASGIApp:
    """Answer a conversation with images: as one JSON object, or with `stream: true` as events."""
    body = isolated(await context.bodies.read(request, ChatBody), request.headers)
    served = context.models.find_ready(body.model)
    asked = chat_request(body, served.card, context.config, secrets.randbits(63))
    return Generation(served, [asked], writer_for(body, CHAT, request.state.request_id), body.stream or False)


ENDPOINT = Endpoint(
    "/chat/completions",
    create_chat_completion,
    methods=("POST",),
    docs=generation_docs(ChatBody, EXAMPLE, ChatCompletion, ChatChunk),
)


def _whole(choice: Choice) -> ChatChoice:
    message: AnswerMessage = {"role": "assistant", "content": choice.text}
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    message = with_calls(message, choice.tool_calls, older=choice.has_functions)
    return {"index": choice.index, "message": message, "finish_reason": _reason(choice), **choice.details}


def _piece(choice: Choice) -> ChatChunkChoice:
    delta: ChatDelta = {"content": choice.text} if choice.text else {}
    if choice.reasoning:
        delta["reasoning_content"] = choice.reasoning
    delta = with_pieces(delta, choice.tool_calls, older=choice.has_functions)
    return {"index": choice.index, "delta": delta, "finish_reason": _reason(choice), **choice.details}


def _reason(choice: Choice) -> ChatFinishReason | None:
    return "function_call" if choice.finish_reason == "tool_calls" and choice.has_functions else choice.finish_reason


def _opening(choice: Choice) -> ChatChunkChoice:
    return {"index": choice.index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}


CHAT = Format("chatcmpl-", "chat.completion", "chat.completion.chunk", True, _whole, _piece, _opening)

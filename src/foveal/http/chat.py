"""POST chat/completions: the server formats the prompt."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from foveal.http.body import BodyReader, body_docs
from foveal.http.generate import Choice, Format, Generation, job_for
from foveal.http.models import check_can_answer
from foveal.http.parse import chat_request, isolated
from foveal.http.problems import problem_docs
from foveal.http.replies import ChatChunk, ChatCompletion
from foveal.http.schemas import EXAMPLE_IMAGE, ChatBody
from foveal.http.sse import stream_docs

if TYPE_CHECKING:
    from foveal.config import HttpConfig
    from foveal.http.contract import Pipeline
    from foveal.http.replies import AnswerMessage, ChatChoice, ChatChunkChoice, ChatDelta

EXAMPLE = {
    "model": "foveal-mini",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": EXAMPLE_IMAGE}},
                {"type": "text", "text": "What shape is it?"},
            ],
        }
    ],
    "max_tokens": 64,
}


def chat_routes(pipeline: Pipeline, config: HttpConfig, bodies: BodyReader) -> APIRouter:
    router = APIRouter(tags=["generation"])

    @router.post(
        "/chat/completions",
        response_class=Response,
        responses={200: stream_docs(ChatCompletion, ChatChunk), **problem_docs(400, 401, 402, 404, 413, 429, 500, 503)},
        openapi_extra=body_docs(ChatBody, EXAMPLE),
    )
    async def create_chat_completion(request: Request) -> Response:
        """Answer a conversation with images: as one JSON object, or with `stream: true` as events."""
        body = isolated(await bodies.read(request, ChatBody), request.headers)
        check_can_answer(pipeline, body.model)
        asked = replace(chat_request(body, pipeline.card, config, secrets.randbits(63)), caller=request.state.caller)
        return Generation(pipeline, job_for(body, [asked], CHAT, request.state.request_id))

    return router


def _whole(choice: Choice) -> ChatChoice:
    message: AnswerMessage = {"role": "assistant", "content": choice.text}
    return {"index": choice.index, "message": message, "finish_reason": choice.finish_reason, **choice.details}


def _piece(choice: Choice) -> ChatChunkChoice:
    delta: ChatDelta = {"content": choice.text} if choice.text else {}
    return {"index": choice.index, "delta": delta, "finish_reason": choice.finish_reason, **choice.details}


def _opening(choice: Choice) -> ChatChunkChoice:
    return {"index": choice.index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}


CHAT = Format("chatcmpl-", "chat.completion", "chat.completion.chunk", True, _whole, _piece, _opening)

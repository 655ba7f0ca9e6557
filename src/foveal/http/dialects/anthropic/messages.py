"""POST messages, and POST messages/count_tokens: what the same body would take."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from foveal.http.dialects.anthropic.errors import OVERLOADED, MessagesError
from foveal.http.dialects.anthropic.parse import chat_request
from foveal.http.dialects.anthropic.replies import MessageEvent, MessageReply, TokenCount
from foveal.http.dialects.anthropic.schemas import CountTokensBody, MessagesBody
from foveal.http.dialects.anthropic.writer import MessagesWriter
from foveal.http.dialects.docs import ERRORS, EXAMPLE_IMAGE, streamed_docs
from foveal.http.dialects.generation import Generation
from foveal.http.endpoint import Docs, Endpoint
from foveal.http.responses import json_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.http.endpoint import Context

EXAMPLE_MESSAGES = {
    "model": "foveal-mini",
    "messages": [
        {
            "role": "user",
            "content": [
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": EXAMPLE_IMAGE},
                },
                {"type": "text", "text": "What shape is it?"},
            ],
        }
    ],
}


async def create_message(request: Request, context: Context) -> ASGIApp:
    """Answer a conversation with images: as one message, or with `stream: true` as events."""
    body = await context.bodies.read(request, MessagesBody)
    served = context.models.find_ready(body.model)
    asked = chat_request(body, served.card, secrets.randbits(63))
    writer = MessagesWriter(
        request.state.request_id,
        body.model,
        body.stop_sequences or (),
        shows_thinking=body.thinking is None or body.thinking.display != "omitted",
    )
    return Generation(served, [asked], writer, body.stream or False)


async def count_tokens(request: Request, context: Context) -> ASGIApp:
    """Count the tokens of a conversation, images included: they are loaded, but nothing is generated."""
    body = await context.bodies.read(request, CountTokensBody)
    served = context.models.find_ready(body.model)
    asked = replace(chat_request(body, served.card, fresh_seed=0), caller=request.state.caller)
    (measured,) = await served.measure([asked])
    counted: TokenCount = {"input_tokens": len(measured.prompt.token_ids)}
    return json_response(counted)


ENDPOINTS = (
    Endpoint(
        "/messages",
        create_message,
        methods=("POST",),
        docs=streamed_docs(
            MessagesBody,
            EXAMPLE_MESSAGES | {"max_tokens": 64},
            MessageReply,
            (MessageEvent, MessagesError),
            "One message; or, with stream: true, named events from message_start to message_stop.",
            OVERLOADED,
        ),
    ),
    Endpoint(
        "/messages/count_tokens",
        count_tokens,
        methods=("POST",),
        docs=Docs(
            "generation",
            {"application/json": TokenCount},
            errors=(*ERRORS, OVERLOADED),
            body=CountTokensBody,
            example=EXAMPLE_MESSAGES,
        ),
    ),
)

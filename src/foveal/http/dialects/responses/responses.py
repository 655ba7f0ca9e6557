"""POST responses, and POST responses/input_tokens: what the same body would take."""

from __future__ import annotations

import secrets
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from foveal.errors import InvalidRequest
from foveal.http.dialects.docs import ERRORS, EXAMPLE_IMAGE_URL, streamed_docs
from foveal.http.dialects.generation import Generation
from foveal.http.dialects.openai.errors import ErrorBody
from foveal.http.dialects.responses.conversation import conversation, keep
from foveal.http.dialects.responses.parse import chat_request
from foveal.http.dialects.responses.replies import InputTokenCount, ResponseEvent, ResponseReply
from foveal.http.dialects.responses.schemas import InputTokensBody, ResponsesBody
from foveal.http.dialects.responses.writer import ResponsesWriter
from foveal.http.endpoint import Docs, Endpoint
from foveal.http.responses import json_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.http.endpoint import Context

EXAMPLE = {
    "model": "foveal-mini",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_image", "image_url": EXAMPLE_IMAGE_URL},
                {"type": "input_text", "text": "What shape is it?"},
            ],
        }
    ],
}


async def create_response(request: Request, context: Context) -> ASGIApp:
    """Answer a conversation with images: as one response, or with `stream: true` as events.

    With `previous_response_id` the conversation goes on from a response that was kept.
    """
    body = await context.bodies.read(request, ResponsesBody)
    if body.store and not context.kept.is_on:
        raise InvalidRequest("This server keeps no responses: leave store out, field: 'store'", param="store")
    served = context.models.find_ready(body.model)
    account = request.state.caller.account
    said = await conversation(body, context, account)
    asked = chat_request(body, said.whole, served.card, context.config, secrets.randbits(63))
    is_kept = context.kept.is_on and body.store is not False
    keeping = partial(keep, context.kept, account, said.items) if is_kept else None
    writer = ResponsesWriter(request.state.request_id, body, asked, keeping)
    return Generation(served, [asked], writer, body.stream or False)


async def count_input_tokens(request: Request, context: Context) -> ASGIApp:
    """Count the tokens of a conversation, images included: they are loaded, but nothing is generated."""
    body = await context.bodies.read(request, InputTokensBody)
    served = context.models.find_ready(body.model)
    said = await conversation(body, context, request.state.caller.account)
    asked = chat_request(body, said.whole, served.card, context.config, fresh_seed=0)
    (measured,) = await served.measure([replace(asked, caller=request.state.caller)])
    counted: InputTokenCount = {
        "object": "response.input_tokens",
        "input_tokens": len(measured.prompt.token_ids),
    }
    return json_response(counted)


ENDPOINTS = (
    Endpoint(
        "/responses",
        create_response,
        methods=("POST",),
        docs=streamed_docs(
            ResponsesBody,
            EXAMPLE | {"max_output_tokens": 64},
            ResponseReply,
            (ResponseEvent, ErrorBody),
            "One response; or, with stream: true, named and numbered events from response.created to "
            "response.completed, response.incomplete or response.failed.",
        ),
    ),
    Endpoint(
        "/responses/input_tokens",
        count_input_tokens,
        methods=("POST",),
        docs=Docs(
            "generation",
            {"application/json": InputTokenCount},
            errors=(*ERRORS, 503),
            body=InputTokensBody,
            example=EXAMPLE,
        ),
    ),
)

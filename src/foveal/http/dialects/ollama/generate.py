"""POST /api/chat and /api/generate."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from foveal.http.dialects.docs import ERRORS, EXAMPLE_IMAGE
from foveal.http.dialects.generation import Generation
from foveal.http.dialects.ollama.parse import chat_request, generate_request, model_name
from foveal.http.dialects.ollama.replies import OllamaChatReply, OllamaGenerateReply, time_of
from foveal.http.dialects.ollama.schemas import OllamaChatBody, OllamaGenerateBody
from foveal.http.dialects.ollama.writer import NDJSON, OllamaWriter
from foveal.http.endpoint import Docs, Endpoint
from foveal.http.responses import json_response

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.http.endpoint import Context

STREAM = "One object; or, unless stream is false, a line of JSON for each piece, the last of them with done: true."


async def ollama_chat(request: Request, context: Context) -> ASGIApp:
    """Answer a conversation with images. Without messages, say whether the model can be asked."""
    body = await context.bodies.read(request, OllamaChatBody)
    served = context.models.find_ready(model_name(body.model))
    if not body.messages:
        return _loaded(body.model, {"message": {"role": "assistant", "content": ""}})
    asked = chat_request(body, served.card, context.config, secrets.randbits(63))
    return Generation(served, [asked], OllamaWriter(body.model, is_chat=True), body.stream is not False)


async def ollama_generate(request: Request, context: Context) -> ASGIApp:
    """Answer one turn with images. Without a prompt, say whether the model can be asked."""
    body = await context.bodies.read(request, OllamaGenerateBody)
    served = context.models.find_ready(model_name(body.model))
    if not body.prompt and not body.images:
        return _loaded(body.model, {"response": ""})
    asked = generate_request(body, served.card, context.config, secrets.randbits(63))
    return Generation(served, [asked], OllamaWriter(body.model, is_chat=False), body.stream is not False)


def _loaded(model: str, said: dict[str, object]) -> ASGIApp:
    reply = {"model": model, "created_at": time_of(time.time()), **said, "done": True, "done_reason": "load"}
    return json_response(reply)


def _docs(body: type, example: object, reply: type) -> Docs:
    return Docs(
        "generation",
        {"application/json": reply, NDJSON: reply},
        STREAM,
        errors=(*ERRORS, 503),
        body=body,
        example=example,
    )


CHAT_EXAMPLE = {
    "model": "foveal-mini",
    "messages": [{"role": "user", "content": "What shape is it?", "images": [EXAMPLE_IMAGE]}],
    "options": {"num_predict": 64},
}
GENERATE_EXAMPLE = {
    "model": "foveal-mini",
    "prompt": "What shape is it?",
    "images": [EXAMPLE_IMAGE],
    "options": {"num_predict": 64},
}
ENDPOINTS = (
    Endpoint("/chat", ollama_chat, methods=("POST",), docs=_docs(OllamaChatBody, CHAT_EXAMPLE, OllamaChatReply)),
    Endpoint(
        "/generate",
        ollama_generate,
        methods=("POST",),
        docs=_docs(OllamaGenerateBody, GENERATE_EXAMPLE, OllamaGenerateReply),
    ),
)

"""POST completions: the prompt is taken as it is."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from foveal.http.dialects.docs import EXAMPLE_IMAGE_URL
from foveal.http.dialects.generation import Generation
from foveal.http.dialects.openai.docs import generation_docs
from foveal.http.dialects.openai.parse import completion_requests, isolated
from foveal.http.dialects.openai.replies import Completion
from foveal.http.dialects.openai.schemas import CompletionBody
from foveal.http.dialects.openai.writer import Choice, Format, writer_for
from foveal.http.endpoint import Endpoint

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.http.dialects.openai.replies import CompletionChoice
    from foveal.http.endpoint import Context

EXAMPLE = {
    "model": "foveal-mini",
    "prompt": "<|user|>\n<image>\nWhat shape is it?<|end|>\n<|assistant|>\n",  # as foveal-mini was trained
    "images": [EXAMPLE_IMAGE_URL],
    "max_tokens": 64,
}


async def create_completion(request: Request, context: Context) -> ASGIApp:
    """Continue a prompt; `<image>` stands where each of `images` belongs."""
    body = isolated(await context.bodies.read(request, CompletionBody), request.headers)
    served = context.models.find_ready(body.model)
    asked = completion_requests(body, served.card, context.config, secrets.randbits(63))
    return Generation(served, asked, writer_for(body, COMPLETION, request.state.request_id), body.stream or False)


ENDPOINT = Endpoint(
    "/completions",
    create_completion,
    methods=("POST",),
    docs=generation_docs(CompletionBody, EXAMPLE, Completion, Completion),
)


def _choice(choice: Choice) -> CompletionChoice:
    return {"index": choice.index, "text": choice.text, "finish_reason": choice.finish_reason, **choice.details}


COMPLETION = Format("cmpl-", "text_completion", "text_completion", False, _choice, _choice)

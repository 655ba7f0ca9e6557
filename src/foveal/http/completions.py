"""POST completions: the prompt is taken as it is."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from foveal.http.body import BodyReader, body_docs
from foveal.http.generate import Choice, Format, Generation, job_for
from foveal.http.models import check_can_answer
from foveal.http.parse import completion_requests, isolated
from foveal.http.problems import problem_docs
from foveal.http.replies import Completion
from foveal.http.schemas import EXAMPLE_IMAGE, CompletionBody
from foveal.http.sse import stream_docs

if TYPE_CHECKING:
    from foveal.config import HttpConfig
    from foveal.http.contract import Pipeline
    from foveal.http.replies import CompletionChoice

EXAMPLE = {
    "model": "foveal-mini",
    "prompt": "USER: <image>\nWhat shape is it?\n\nASSISTANT:",
    "images": [EXAMPLE_IMAGE],
    "max_tokens": 64,
}


def completion_routes(pipeline: Pipeline, config: HttpConfig, bodies: BodyReader) -> APIRouter:
    router = APIRouter(tags=["generation"])

    @router.post(
        "/completions",
        response_class=Response,
        responses={200: stream_docs(Completion, Completion), **problem_docs(400, 401, 402, 404, 413, 429, 500, 503)},
        openapi_extra=body_docs(CompletionBody, EXAMPLE),
    )
    async def create_completion(request: Request) -> Response:
        """Continue a prompt; `<image>` stands where each of `images` belongs."""
        body = isolated(await bodies.read(request, CompletionBody), request.headers)
        check_can_answer(pipeline, body.model)
        caller = request.state.caller
        prompts = completion_requests(body, pipeline.card, config, secrets.randbits(63))
        asked = [replace(prompt, caller=caller) for prompt in prompts]
        return Generation(pipeline, job_for(body, asked, COMPLETION, request.state.request_id))

    return router


def _choice(choice: Choice) -> CompletionChoice:
    return {"index": choice.index, "text": choice.text, "finish_reason": choice.finish_reason, **choice.details}


COMPLETION = Format("cmpl-", "text_completion", "text_completion", False, _choice, _choice)

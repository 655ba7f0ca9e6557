"""One generation as a response: opened, written as JSON or as events, left at once when the client goes away.

What chat completions and completions have in common. How a choice looks is each one's `Format`; how an answer comes
about is the pipeline's business.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fastapi import Response

from foveal.errors import RequestError
from foveal.http import sse
from foveal.http.answers import Answers
from foveal.http.disconnect import unless_client_leaves
from foveal.http.logprobs import TextPosition, content_logprobs, legacy_logprobs
from foveal.http.problems import as_request_error, problem_body
from foveal.http.replies import to_json, usage_reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from starlette.types import Receive, Scope, Send

    from foveal.http.contract import Pipeline
    from foveal.http.replies import Logprobs
    from foveal.http.schemas import GenerationBody
    from foveal.types import ChatRequest, CompletionRequest, Delta, FinishReason, TokenLogprob

logger = logging.getLogger(__name__)

Reply = dict[str, object]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is said of one choice: all of it, or the piece that one event carries."""

    index: int
    text: str = ""
    finish_reason: FinishReason | None = None
    logprobs: Logprobs | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """How an endpoint writes. The functions give one entry of a reply's `choices`."""

    id_prefix: str
    kind: str  # the reply's `object`
    chunk_kind: str
    whole: Callable[[Choice], Mapping[str, object]]
    piece: Callable[[Choice], Mapping[str, object]]
    opening: Callable[[Choice], Mapping[str, object]] | None = None  # a choice's first event, before it says anything


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be generated, and how it is to be written. Several requests give consecutive choices."""

    id: str
    model: str  # as the client named it
    created: int  # Unix time, s
    requests: Sequence[ChatRequest | CompletionRequest]
    format: Format
    stream: bool
    include_usage: bool
    perf_metrics: bool
    logprobs: Literal["content", "legacy"] | None


def job_for(
    body: GenerationBody, requests: Sequence[ChatRequest | CompletionRequest], form: Format, number: str
) -> Job:
    """The job that a body asks for. `number`: the request's id, so that an answer can be found in the log."""
    asks_legacy = body.logprobs is not None and not isinstance(body.logprobs, bool)
    return Job(
        id=form.id_prefix + number,
        model=body.model,
        created=int(time.time()),
        requests=requests,
        format=form,
        stream=body.stream or False,
        include_usage=body.stream_options is not None and (body.stream_options.include_usage or False),
        perf_metrics=body.perf_metrics_in_response or False,
        logprobs="legacy" if asks_legacy else "content" if body.logprobs else None,
    )


class Generation(Response):
    """Generates when it is sent. A failure before the first token leaves as an exception, for an error response."""

    def __init__(self, pipeline: Pipeline, job: Job) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await unless_client_leaves(receive, self._answer(scope, receive, send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        requests = self.job.requests
        async with AsyncExitStack() as running:
            answers = [await running.enter_async_context(self.pipeline.answer(request)) for request in requests]
            if self.job.stream:
                await _stream(Answers(requests, answers), self.job, send)
            else:
                response = await _respond(Answers(requests, answers), self.job)
                await response(scope, receive, send)


async def _respond(answers: Answers, job: Job) -> Response:
    said: defaultdict[int, list[Delta]] = defaultdict(list)
    async for delta in answers.deltas():
        said[delta.index].append(delta)
    choices = [job.format.whole(_join(index, said[index], job)) for index in range(answers.num_choices)]
    reply = _envelope(job, job.format.kind, choices) | {"usage": usage_reply(answers.usage)}
    if job.perf_metrics:
        reply["perf_metrics"] = answers.perf_metrics
    return Response(to_json(reply), headers=answers.headers, media_type="application/json")


def _join(index: int, deltas: Sequence[Delta], job: Job) -> Choice:
    tokens = [token for delta in deltas for token in delta.logprobs]
    text = "".join(delta.text for delta in deltas)
    return Choice(index, text, deltas[-1].finish_reason, _logprobs(tokens, TextPosition(), job))


async def _stream(answers: Answers, job: Job, send: Send) -> None:
    chunks = _chunks(answers, job)
    first = await anext(chunks)
    await sse.send_events(send, answers.headers, _events(first, chunks, job))


async def _events(first: Reply, rest: AsyncIterator[Reply], job: Job) -> AsyncIterator[bytes]:
    yield sse.event(first)
    try:
        async for chunk in rest:
            yield sse.event(chunk)
    except Exception as error:
        if not isinstance(error, RequestError):
            logger.exception("generation %s failed", job.id)
        yield sse.event(problem_body(as_request_error(error)))
    else:
        yield sse.DONE


async def _chunks(answers: Answers, job: Job) -> AsyncIterator[Reply]:
    """One choice a chunk. The chunk that ends the last choice carries usage and metrics, so it waits for their end."""
    positions: dict[int, TextPosition] = {}
    num_unfinished = answers.num_choices
    ending: Reply = {}
    async for delta in answers.deltas():
        if delta.index not in positions:
            positions[delta.index] = TextPosition()
            if job.format.opening is not None:
                yield _envelope(job, job.format.chunk_kind, [job.format.opening(Choice(delta.index))])
        if delta.text or delta.logprobs:
            logprobs = _logprobs(delta.logprobs, positions[delta.index], job)
            piece = Choice(delta.index, delta.text, logprobs=logprobs)
            yield _envelope(job, job.format.chunk_kind, [job.format.piece(piece)])
        if delta.finish_reason is not None:
            num_unfinished -= 1
            end = Choice(delta.index, finish_reason=delta.finish_reason)
            ending = _envelope(job, job.format.chunk_kind, [job.format.piece(end)])
            if num_unfinished:
                yield ending
    usage = usage_reply(answers.usage)
    yield ending | {"usage": usage, "perf_metrics": answers.perf_metrics}
    if job.include_usage:
        yield _envelope(job, job.format.chunk_kind, []) | {"usage": usage}


def _envelope(job: Job, kind: str, choices: Sequence[Mapping[str, object]]) -> Reply:
    return {"id": job.id, "object": kind, "created": job.created, "model": job.model, "choices": choices}


def _logprobs(tokens: Sequence[TokenLogprob], position: TextPosition, job: Job) -> Logprobs | None:
    if job.logprobs is None or not tokens:
        return None
    write = content_logprobs if job.logprobs == "content" else legacy_logprobs
    return write(tokens, position)

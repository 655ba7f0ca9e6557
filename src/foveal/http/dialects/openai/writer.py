"""Writes answers as OpenAI's bodies and events, for chat completions and completions alike.

What differs between the two is in their `Format`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from foveal.http.dialects import sse
from foveal.http.dialects.openai.calls import has_something
from foveal.http.dialects.openai.errors import error_body
from foveal.http.dialects.openai.logprobs import TextPosition, content_logprobs, echoed_logprobs, legacy_logprobs
from foveal.http.dialects.openai.replies import ChoiceDetails, perf_metrics_reply, usage_reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from foveal.errors import RequestError
    from foveal.http.dialects.answers import Answers
    from foveal.http.dialects.openai.replies import Logprobs, PerfMetrics, RawOutput
    from foveal.http.dialects.openai.schemas import GenerationBody
    from foveal.serving.served import Answer
    from foveal.types import Delta, FinishReason, ToolCallDelta

DONE = b"data: [DONE]\n\n"

Reply = dict[str, object]


@dataclass(frozen=True, slots=True)
class Choice:
    """What a reply has of one choice: all of it, or the part that one event carries."""

    index: int
    text: str = ""
    finish_reason: FinishReason | None = None
    details: ChoiceDetails = field(default_factory=ChoiceDetails)
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    has_functions: bool = False  # the request has the older form of tools


@dataclass(frozen=True, slots=True)
class Format:
    """How an endpoint writes. The functions give one entry of a reply's `choices`."""

    id_prefix: str
    kind: str  # the reply's `object`
    chunk_kind: str
    prompt_ids_in_reply: bool  # beside the choices; otherwise each choice has them
    whole: Callable[[Choice], Mapping[str, object]]
    piece: Callable[[Choice], Mapping[str, object]]
    opening: Callable[[Choice], Mapping[str, object]] | None = None  # a choice's first event, before any text


@dataclass(frozen=True, slots=True)
class Job:
    """What all chunks of one reply have in common, and which optional parts it carries."""

    id: str
    model: str  # as the client named it
    created: int  # Unix time, s
    format: Format
    include_usage: bool
    perf_metrics: bool
    logprobs: Literal["content", "legacy"] | None
    token_ids: bool
    raw_output: bool
    has_functions: bool = False


def writer_for(body: GenerationBody, form: Format, number: str) -> OpenAIWriter:
    """The writer that a body asks for. `number`: the request's id, with which the answer can be found in the log."""
    asks_legacy = body.logprobs is not None and not isinstance(body.logprobs, bool)
    job = Job(
        id=form.id_prefix + number,
        model=body.model,
        created=int(time.time()),
        format=form,
        include_usage=body.stream_options is not None and (body.stream_options.include_usage or False),
        perf_metrics=body.perf_metrics_in_response or False,
        logprobs="legacy" if asks_legacy else "content" if body.logprobs else None,
        token_ids=body.return_token_ids or False,
        raw_output=body.raw_output or False,
        has_functions=bool(getattr(body, "functions", None)),
    )
    return OpenAIWriter(job)


@dataclass(frozen=True, slots=True)
class OpenAIWriter:
    """A `Writer`: one object, or `data:` lines without comments and event names, followed by [DONE]."""

    job: Job
    media_type: str = sse.MEDIA_TYPE

    def headers(self, answers: Answers) -> dict[str, str]:
        """The performance metrics that are known so far."""
        return {f"fireworks-{name}": str(value) for name, value in _perf_metrics(answers).items()}

    async def whole(self, answers: Answers, said: Sequence[Sequence[Delta]]) -> Reply:
        job = self.job
        choices = [job.format.whole(_join(said[index], answers.of(index), job)) for index in range(answers.num_choices)]
        reply = _envelope(job, job.format.kind, choices) | {"usage": usage_reply(answers.usage)}
        if job.perf_metrics:
            reply["perf_metrics"] = _perf_metrics(answers)
        if job.token_ids and job.format.prompt_ids_in_reply:
            reply["prompt_token_ids"] = answers.of(0).prompt_token_ids
        return reply

    async def stream(self, answers: Answers) -> AsyncIterator[bytes]:
        async for chunk in _chunks(answers, self.job):
            yield sse.event(chunk)
        yield DONE

    def failure(self, error: RequestError) -> bytes:
        return sse.event(error_body(error))


def _join(deltas: Sequence[Delta], answer: Answer, job: Job) -> Choice:
    """All of one choice."""
    text = "".join(delta.text for delta in deltas)
    logprobs = tuple(token for delta in deltas for token in delta.logprobs)
    token_ids = tuple(token_id for delta in deltas for token_id in delta.token_ids)
    whole = replace(deltas[-1], text=text, logprobs=logprobs, token_ids=token_ids, echo=deltas[0].echo)
    details = _prompt_details(answer, job) | _details(whole, TextPosition(), job)
    if job.raw_output:
        details["raw_output"] = _raw_output(deltas, answer)
    reasoning = "".join(delta.reasoning for delta in deltas)
    calls = tuple(call for delta in deltas for call in delta.tool_calls)
    return Choice(whole.index, text, whole.finish_reason, details, reasoning, calls, job.has_functions)


async def _chunks(answers: Answers, job: Job) -> AsyncIterator[Reply]:
    """Each chunk has one choice. The chunk that ends the last choice waits for the answers' end, since it carries their
    metrics and usage. With include_usage, usage has its own chunk instead, since some clients add up all they get.
    """
    choices = [_StreamedChoice(answers.of(index), job) for index in range(answers.num_choices)]
    num_unfinished = answers.num_choices
    ending: Reply = {}
    async for delta in answers.deltas():
        for chunk in choices[delta.index].pieces(delta):
            yield chunk
        if delta.finish_reason is not None:
            num_unfinished -= 1
            ending = choices[delta.index].end(delta)
            if num_unfinished:
                yield ending
    usage = usage_reply(answers.usage)
    metrics = {"perf_metrics": _perf_metrics(answers)}
    if job.include_usage:
        yield ending | metrics
        yield _envelope(job, job.format.chunk_kind, []) | {"usage": usage}
    else:
        yield ending | {"usage": usage} | metrics


class _StreamedChoice:
    """The state of one choice of a stream."""

    def __init__(self, answer: Answer, job: Job) -> None:
        self._answer = answer
        self._job = job
        self._position = TextPosition()
        self._said: list[Delta] = []  # kept only for raw_output, which has all of it at the end
        self._is_open = False

    def pieces(self, delta: Delta) -> Iterator[Reply]:
        """The opening chunk, if this is the first delta, and a chunk with the delta, if it has anything to show."""
        job, prompt_details = self._job, ChoiceDetails()
        if not self._is_open:
            self._is_open = True
            prompt_details = _prompt_details(self._answer, job)
            if job.format.opening is not None:
                yield self._opening(delta.index, job.format.opening)
        if job.raw_output:
            self._said.append(delta)
        is_shown = delta.text or delta.reasoning or has_something(delta.tool_calls)
        if is_shown or delta.logprobs or job.token_ids:
            details = prompt_details | _details(delta, self._position, job)
            said = Choice(delta.index, delta.text, None, details, delta.reasoning, delta.tool_calls, job.has_functions)
            yield self._chunk(said)

    def end(self, delta: Delta) -> Reply:
        details = ChoiceDetails()
        if self._job.raw_output:
            details["raw_output"] = _raw_output(self._said, self._answer)
        reason, functions = delta.finish_reason, self._job.has_functions
        return self._chunk(Choice(delta.index, finish_reason=reason, details=details, has_functions=functions))

    def _opening(self, index: int, opening: Callable[[Choice], Mapping[str, object]]) -> Reply:
        reply = _envelope(self._job, self._job.format.chunk_kind, [opening(Choice(index))])
        if self._job.token_ids and self._job.format.prompt_ids_in_reply:
            reply["prompt_token_ids"] = self._answer.prompt_token_ids
        return reply

    def _chunk(self, choice: Choice) -> Reply:
        return _envelope(self._job, self._job.format.chunk_kind, [self._job.format.piece(choice)])


def _envelope(job: Job, kind: str, choices: Sequence[Mapping[str, object]]) -> Reply:
    return {"id": job.id, "object": kind, "created": job.created, "model": job.model, "choices": choices}


def _details(said: Delta, position: TextPosition, job: Job) -> ChoiceDetails:
    details = ChoiceDetails()
    if job.logprobs is not None and (said.logprobs or said.echo):
        details["logprobs"] = _logprobs(said, position, job)
    if job.token_ids:
        details["token_ids"] = list(said.token_ids)
    return details


def _logprobs(said: Delta, position: TextPosition, job: Job) -> Logprobs:
    if job.logprobs == "content":
        return content_logprobs(said.logprobs, position)
    if said.echo is None:
        return legacy_logprobs(said.logprobs, position)
    echoed, generated = echoed_logprobs(said.echo, position), legacy_logprobs(said.logprobs, position)
    return {
        "tokens": echoed["tokens"] + generated["tokens"],
        "token_ids": echoed["token_ids"] + generated["token_ids"],
        "token_logprobs": echoed["token_logprobs"] + generated["token_logprobs"],
        "top_logprobs": echoed["top_logprobs"] + generated["top_logprobs"],
        "text_offset": echoed["text_offset"] + generated["text_offset"],
    }


def _prompt_details(answer: Answer, job: Job) -> ChoiceDetails:
    if job.token_ids and not job.format.prompt_ids_in_reply:
        return {"prompt_token_ids": list(answer.prompt_token_ids)}
    return {}


def _perf_metrics(answers: Answers) -> PerfMetrics:
    return perf_metrics_reply(answers.usage, answers.first_token_s, answers.total_s)


def _raw_output(deltas: Sequence[Delta], answer: Answer) -> RawOutput:
    token_ids = [token_id for delta in deltas for token_id in delta.token_ids]
    raw: RawOutput = {
        "prompt_fragments": answer.prompt_fragments(),
        "prompt_token_ids": list(answer.prompt_token_ids),
        "completion": answer.spell(token_ids),
        "completion_token_ids": token_ids,
    }
    if logprobs := [token for delta in deltas for token in delta.logprobs]:
        raw["completion_logprobs"] = content_logprobs(logprobs, TextPosition())
    if answer.grammar is not None:
        raw["grammar"] = answer.grammar
    return raw

"""The answers to the prompts of one request, as one: choices counted on, usage summed up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from foveal.errors import GenerationFailed
from foveal.http.replies import perf_metrics_reply
from foveal.types import CompletionRequest, Delta, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from foveal.http.contract import Answer
    from foveal.http.replies import PerfMetrics
    from foveal.types import ChatRequest


class Answers:
    """`answers[i]` is the answer to `requests[i]`. The engine works on all of them; they are read one after another."""

    def __init__(self, requests: Sequence[ChatRequest | CompletionRequest], answers: Sequence[Answer]) -> None:
        self._requests = requests
        self._answers = answers
        self.num_choices = sum(request.options.num_choices for request in requests)

    @property
    def usage(self) -> Usage:
        usages = [answer.usage for answer in self._answers]
        return Usage(
            prompt_tokens=sum(usage.prompt_tokens for usage in usages),
            image_tokens=sum(usage.image_tokens for usage in usages),
            text_tokens=sum(usage.text_tokens for usage in usages),
            cached_tokens=sum(usage.cached_tokens for usage in usages),
            completion_tokens=sum(usage.completion_tokens for usage in usages),
        )

    @property
    def perf_metrics(self) -> PerfMetrics:
        total_s = max(answer.total_s for answer in self._answers)
        return perf_metrics_reply(self.usage, self._answers[0].first_token_s, total_s)

    @property
    def headers(self) -> dict[str, str]:
        """The metrics, as far as they are known by now."""
        return {f"fireworks-{name}": str(value) for name, value in self.perf_metrics.items()}

    async def deltas(self) -> AsyncIterator[Delta]:
        """All pieces; each choice ends with a finish_reason. Raises RequestError."""
        first_index = 0
        for request, answer in zip(self._requests, self._answers, strict=True):
            num_finished = 0
            async for delta in _echoing(request, answer):
                num_finished += delta.finish_reason is not None
                yield replace(delta, index=first_index + delta.index)
            if num_finished < request.options.num_choices:
                raise GenerationFailed("The answer broke off; ask again.")
            first_index += request.options.num_choices


async def _echoing(request: ChatRequest | CompletionRequest, answer: Answer) -> AsyncIterator[Delta]:
    """The answer's pieces, with the prompt before each choice's first one where the request asks for it."""
    prompt = ""
    if isinstance(request, CompletionRequest) and request.echo and isinstance(request.prompt, str):
        prompt = request.prompt
    begun = set()
    async for delta in answer.deltas():
        yield delta if delta.index in begun or not prompt else replace(delta, text=prompt + delta.text)
        begun.add(delta.index)

"""The answers to the prompts of one request, as one: choices counted on, usage summed up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from foveal.errors import GenerationFailed
from foveal.http.replies import perf_metrics_reply
from foveal.types import Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from foveal.http.contract import Answer
    from foveal.http.replies import PerfMetrics
    from foveal.types import ChatRequest, CompletionRequest, Delta


class Answers:
    """`answers[i]` is the answer to `requests[i]`. The engine works on all of them; they are read one after another."""

    def __init__(self, requests: Sequence[ChatRequest | CompletionRequest], answers: Sequence[Answer]) -> None:
        self._requests = requests
        self._answers = answers
        self._of_choice = [
            answer
            for request, answer in zip(requests, answers, strict=True)
            for _ in range(request.options.num_choices)
        ]
        self.num_choices = len(self._of_choice)

    def of(self, index: int) -> Answer:
        """The answer that choice `index` is part of."""
        return self._of_choice[index]

    @property
    def usage(self) -> Usage:
        return Usage.of_all([answer.usage for answer in self._answers])

    @property
    def perf_metrics(self) -> PerfMetrics:
        total_s = max(answer.total_s for answer in self._answers)
        return perf_metrics_reply(self.usage, self._answers[0].first_token_s, total_s)

    @property
    def warnings(self) -> list[str]:
        """Each of them once."""
        return list(dict.fromkeys(warning for answer in self._answers for warning in answer.warnings))

    @property
    def headers(self) -> dict[str, str]:
        """The metrics, as far as they are known by now, and the warnings."""
        headers = {f"fireworks-{name}": str(value) for name, value in self.perf_metrics.items()}
        return headers | ({"x-foveal-warning": " ".join(self.warnings)} if self.warnings else {})

    async def deltas(self) -> AsyncIterator[Delta]:
        """All pieces; each choice ends with a finish_reason. Raises RequestError."""
        first_index = 0
        for request, answer in zip(self._requests, self._answers, strict=True):
            num_finished = 0
            async for delta in answer.deltas():
                num_finished += delta.finish_reason is not None
                yield replace(delta, index=first_index + delta.index)
            if num_finished < request.options.num_choices:
                raise GenerationFailed("The answer broke off; ask again.")
            first_index += request.options.num_choices

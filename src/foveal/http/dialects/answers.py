"""Joins the answers to the prompts of one request: choices are numbered consecutively, usage is summed up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from foveal.errors import CutOff, GenerationFailed
from foveal.types import Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from foveal.serving.served import Answer
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
        self.ending = "aborted"  # until `deltas` has come to its end: the reasons, or failed

    def of(self, index: int) -> Answer:
        """The answer that choice `index` is part of."""
        return self._of_choice[index]

    @property
    def asked(self) -> ChatRequest | CompletionRequest:
        """The first request; the options of all are the same."""
        return self._requests[0]

    @property
    def usage(self) -> Usage:
        return Usage.of_all([answer.usage for answer in self._answers])

    @property
    def first_token_s(self) -> float | None:
        """That of the first answer; None until its first delta."""
        return self._answers[0].first_token_s

    @property
    def queue_s(self) -> float | None:
        """How long the first answer waited for the engine."""
        return self._answers[0].queue_s

    @property
    def total_s(self) -> float:
        return max(answer.total_s for answer in self._answers)

    @property
    def warnings(self) -> list[str]:
        """Each of them once."""
        return list(dict.fromkeys(warning for answer in self._answers for warning in answer.warnings))

    async def deltas(self) -> AsyncIterator[Delta]:
        """The deltas of all choices; each choice ends with a finish_reason. Raises RequestError."""
        reasons: list[str] = []
        try:
            async for delta in self._numbered():
                if delta.finish_reason is not None:
                    reasons.append(delta.finish_reason)
                    if len(reasons) == self.num_choices:
                        self.ending = ",".join(dict.fromkeys(reasons))
                yield delta
        except CutOff:
            raise
        except Exception:
            self.ending = "failed"
            raise

    async def _numbered(self) -> AsyncIterator[Delta]:
        first_index = 0
        for request, answer in zip(self._requests, self._answers, strict=True):
            num_finished = 0
            async for delta in answer.deltas():
                num_finished += delta.finish_reason is not None
                yield replace(delta, index=first_index + delta.index)
            if num_finished < request.options.num_choices:
                raise GenerationFailed("The answer ended before it was finished; ask again.")
            first_index += request.options.num_choices

    async def all_deltas(self) -> list[list[Delta]]:
        """The deltas of each choice, once all are there. Raises RequestError."""
        said: list[list[Delta]] = [[] for _ in range(self.num_choices)]
        async for delta in self.deltas():
            said[delta.index].append(delta)
        return said

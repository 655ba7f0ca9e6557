"""The bytes of an answer, with the times at which they were read -> Sample. Pure functions."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from foveal.bench import wire
from foveal.bench.records import Answer, Request, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence


def answer_of(
    request: Request,
    start_s: float,
    sent_s: float,
    ended_s: float,
    reads: Sequence[wire.Read],
    status: int | None = None,
    error: str | None = None,
) -> Answer:
    """`error`: what went wrong with the connection. Errors in the stream are found here."""
    events = list(wire.events(reads))
    usages = [event.usage for event in events if event.usage is not None]
    usage = usages[-1] if usages else wire.Usage()
    ends = [event for event in events if event.finish_reason]
    sample = Sample(
        request,
        start_s,
        sent_s,
        ended_s,
        chunks_s=tuple(event.at_s for event in events if event.content or event.reasoning),
        last_s=max(
            (event.at_s for event in events if event.content or event.reasoning or event.finish_reason), default=None
        ),
        finish_reason=ends[-1].finish_reason if ends else None,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None,
        completion_tokens=usage.completion_tokens,
        status=status,
        error=error or _error_in(events) or (None if ends else "the stream ended without a finish_reason"),
    )
    return Answer(sample, "".join(event.content for event in events))


def _error_in(events: Sequence[wire.Event]) -> str | None:
    errors = [event.error for event in events if event.error]
    return f"in the stream: {errors[0]}" if errors else None


def num_tokens(sample: Sample) -> int:
    """Output tokens by usage, if the server sent it; else each chunk counts as one."""
    return len(sample.chunks_s) if sample.completion_tokens is None else sample.completion_tokens


def ttft_s(sample: Sample) -> float | None:
    return sample.chunks_s[0] - sample.start_s if sample.chunks_s else None


def tpot_s(sample: Sample) -> float | None:
    """Mean time of a token after the first; None without a second one."""
    if sample.last_s is None or not sample.chunks_s or num_tokens(sample) < 2:
        return None
    return (sample.last_s - sample.chunks_s[0]) / (num_tokens(sample) - 1)


def gaps_s(sample: Sample) -> list[float]:
    return [later - sooner for sooner, later in pairwise(sample.chunks_s)]


def longest_gap_s(sample: Sample) -> float | None:
    return max(gaps_s(sample), default=None)


def e2e_s(sample: Sample) -> float:
    return sample.ended_s - sample.start_s


def lag_s(sample: Sample) -> float:
    return sample.sent_s - sample.start_s

"""Counts and times of all answers since the start, for metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from foveal.telemetry import Histogram
from foveal.types import Outcome, Status

FIRST_TOKEN_BOUNDS_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
TOKEN_BOUNDS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


@dataclass(slots=True)
class Totals:
    by_status: Counter[Status] = field(default_factory=Counter)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    image_tokens: int = 0
    completion_tokens: int = 0
    first_token_s: Histogram = field(default_factory=lambda: Histogram(FIRST_TOKEN_BOUNDS_S))  # TTFT
    token_s: Histogram = field(default_factory=lambda: Histogram(TOKEN_BOUNDS_S))  # TPOT: each token after the first

    def add(self, outcome: Outcome) -> None:
        usage = outcome.usage
        self.by_status[outcome.status] += 1
        self.prompt_tokens += usage.prompt_tokens
        self.cached_tokens += usage.cached_tokens
        self.image_tokens += usage.image_tokens
        self.completion_tokens += usage.completion_tokens
        if outcome.first_token_s is None:
            return
        self.first_token_s.observe(outcome.first_token_s)
        if usage.completion_tokens > 1:
            self.token_s.observe((outcome.total_s - outcome.first_token_s) / (usage.completion_tokens - 1))

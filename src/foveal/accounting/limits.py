"""What a key may take in a minute, and what it took in the last one. Knows neither requests nor clocks.

Times are seconds of one clock and are passed in. docs/decisions/061-limits.md weighs the `limits` package,
which counts by the wall clock and cannot give back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from foveal.config import LimitConfig

WINDOW_S = 60


@dataclass(frozen=True, slots=True)
class Limits:
    """A key's own limits. None: the server's; 0: none."""

    requests_per_minute: int | None = None
    prompt_tokens_per_minute: int | None = None
    generated_tokens_per_minute: int | None = None
    max_concurrent_requests: int | None = None

    def over(self, defaults: LimitConfig) -> LimitConfig:
        """The limits that apply to the key."""
        own = {limit.name: getattr(self, limit.name) for limit in fields(self)}
        return replace(defaults, **{name: value for name, value in own.items() if value is not None})


class Window:
    """What was taken in the last minute, by second, so that there are at most 61 numbers at any rate."""

    def __init__(self) -> None:
        self._by_second: dict[int, int] = {}  # ascending

    def total(self, now_s: float) -> int:
        self._forget(now_s)
        return sum(self._by_second.values())

    def take(self, amount: int, now_s: float) -> None:
        second = int(now_s)
        self._by_second[second] = self._by_second.get(second, 0) + amount

    def give_back(self, amount: int, taken_s: float) -> None:
        """Take back a part of what was taken at `taken_s`. Without effect if that second has left the window."""
        if int(taken_s) in self._by_second:
            self._by_second[int(taken_s)] -= amount

    def wait_s(self, amount: int, limit: int, now_s: float) -> float | None:
        """How long until `amount` more is within `limit` for a whole minute: 0.0 now, None never."""
        excess = self.total(now_s) + amount - limit
        if excess <= 0:
            return 0.0
        for second, taken in self._by_second.items():
            excess -= taken
            if excess <= 0:
                return second + 1 + WINDOW_S - now_s
        return None

    def _forget(self, now_s: float) -> None:
        """Drop seconds of which every moment is a minute old. Dropping sooner would let a minute exceed a limit."""
        for second in [second for second in self._by_second if second + 1 + WINDOW_S <= now_s]:
            del self._by_second[second]


@dataclass(slots=True)
class Meter:
    """What one key took in the last minute, and what its running requests take."""

    requests: Window = field(default_factory=Window)
    prompt_tokens: Window = field(default_factory=Window)
    generated_tokens: Window = field(default_factory=Window)
    num_running: int = 0
    reserved_nano: int = 0  # what running requests may cost at most


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit, as headers tell it to a client."""

    limit: int
    remaining: int


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a key's limits. None: there is no such limit."""

    requests: Allowance | None = None
    prompt_tokens: Allowance | None = None
    generated_tokens: Allowance | None = None

    @property
    def is_at_limit(self) -> bool:
        return any(
            known and known.remaining == 0 for known in (self.requests, self.prompt_tokens, self.generated_tokens)
        )


def standing(meter: Meter, limits: LimitConfig, now_s: float) -> Standing:
    return Standing(
        _allowance(meter.requests, limits.requests_per_minute, now_s),
        _allowance(meter.prompt_tokens, limits.prompt_tokens_per_minute, now_s),
        _allowance(meter.generated_tokens, limits.generated_tokens_per_minute, now_s),
    )


def _allowance(window: Window, limit: int, now_s: float) -> Allowance | None:
    return Allowance(limit, max(0, limit - window.total(now_s))) if limit else None

"""Conditions on a run's figures, as `--expect` takes them: `ttft.p90<=500`, `ratio.ttft.p50<1`.

Times are in milliseconds, shares from 0 to 1. A figure that the run does not have fails its expectation.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from foveal.bench.ratios import TIMES
from foveal.bench.records import Distribution, Report
from foveal.errors import ConfigError

if TYPE_CHECKING:
    from foveal.bench.records import Ratio

WRITTEN = re.compile(r"\s*([a-z][a-z0-9_.]*)\s*(<=|>=|<|>)\s*([0-9]+(?:\.[0-9]+)?)\s*")
COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
TIME_NAMES = ("ttft", "tpot", "gap", "e2e", "lag")
STATISTICS = tuple(each.name for each in fields(Distribution) if each.name != "count")
RATES = ("requests_per_s", "output_tokens_per_s", "prompt_tokens_per_s")
FIGURES = frozenset(
    {*RATES, "error_share", *(f"{time}.{statistic}" for time in TIME_NAMES for statistic in STATISTICS)}
)
RATIOS = frozenset(f"ratio.{name}" for name in (*(name for name, _, _ in TIMES), *RATES[:2]))


@dataclass(frozen=True, slots=True)
class Expectation:
    text: str
    figure: str
    comparison: str
    limit: float


def parse(text: str, *, has_ratios: bool) -> Expectation:
    """Reads one expectation. Raises ConfigError that lists what can be written."""
    found = WRITTEN.fullmatch(text)
    known = FIGURES | RATIOS if has_ratios else FIGURES
    if found is None or found[1] not in known:
        raise ConfigError(
            f"--expect {text!r}: write a figure, one of <= >= < >, and a number, such as 'ttft.p90<=500' (ms). "
            f"The figures are {', '.join(sorted(known))}"
        )
    return Expectation(text.strip(), found[1], found[2], float(found[3]))


def failures(expectations: Sequence[Expectation], report: Report, ratios: Sequence[Ratio]) -> list[str]:
    """One sentence for each that does not hold."""
    return [said for expectation in expectations if (said := _failure(expectation, report, ratios)) is not None]


def _failure(expectation: Expectation, report: Report, ratios: Sequence[Ratio]) -> str | None:
    value = _value(expectation.figure, report, ratios)
    if value is None:
        return f"{expectation.text}: the run has no such figure"
    if COMPARE[expectation.comparison](value, expectation.limit):
        return None
    return f"{expectation.text}: it is {value:.4g}"


def _value(figure: str, report: Report, ratios: Sequence[Ratio]) -> float | None:
    if figure in RATIOS:
        return next((ratio.value for ratio in ratios if f"ratio.{ratio.name}" == figure), None)
    name, _, statistic = figure.partition(".")
    found = getattr(report, name)
    if isinstance(found, Distribution):
        return 1000 * float(getattr(found, statistic))
    return None if found is None else float(found)

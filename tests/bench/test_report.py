"""Samples to figures, against numpy and against sums done by hand."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from foveal.bench.expectations import failures, parse
from foveal.bench.ratios import answers_differ, confidence, ratios_of
from foveal.bench.records import Ratio, Request, RoundTime, Sample
from foveal.bench.report import distribution_of, report_of
from foveal.errors import ConfigError
from tests.bench.builders import run_of, sample

ROUND = RoundTime(0, 0.0, 10.0)


def ratio(ratios: tuple[Ratio, ...], name: str) -> Ratio:
    return next(each for each in ratios if each.name == name)


@pytest.mark.parametrize("count", [1, 2, 7, 100, 1001])
def test_percentiles_are_numpys_linear_ones(count: int) -> None:
    times_s = np.random.default_rng(count).gamma(2.0, 0.1, count).tolist()
    found = distribution_of(times_s)
    assert found is not None
    assert (found.count, found.max) == (count, max(times_s))
    assert [found.p50, found.p90, found.p99] == pytest.approx(np.quantile(times_s, [0.5, 0.9, 0.99]).tolist())
    assert found.mean == pytest.approx(sum(times_s) / count)


def test_percentiles_are_interpolated() -> None:
    found = distribution_of([4.0, 1.0, 3.0, 2.0])
    assert found is not None
    assert (found.p50, found.p90, found.p99) == pytest.approx((2.5, 3.7, 3.97))


def test_rates_are_over_the_time_in_which_the_server_was_asked() -> None:
    samples = [sample(number, num_chunks=5, prompt_tokens=100, cached_tokens=30) for number in range(4)]
    report = report_of(samples, [RoundTime(0, 0.0, 2.0), RoundTime(1, 10.0, 13.0)], has_rate=False)
    assert report.busy_s == 5.0
    assert (report.requests_per_s, report.output_tokens_per_s, report.prompt_tokens_per_s) == (0.8, 4.0, 80.0)
    assert (report.output_tokens, report.prompt_tokens, report.cached_tokens) == (20, 400, 120)
    assert report.lag is None


def test_tokens_are_counted_by_what_there_is() -> None:
    told, untold = sample(completion_tokens=9), sample(num_chunks=5)
    counted = [report_of(each, [ROUND], has_rate=False) for each in ([told], [untold], [told, untold])]
    assert [(each.output_tokens, each.tokens_counted_by) for each in counted] == [
        (9, "usage"),
        (5, "chunks"),
        (14, "mixed"),
    ]


def test_failed_requests_count_as_failed_only() -> None:
    samples = [sample(0), sample(1, error="503 busy", first_s=50.0), sample(2, error="503 busy"), sample(3, error="x")]
    report = report_of(samples, [ROUND], has_rate=False)
    assert (report.num_answered, report.num_failed, report.error_share) == (1, 3, 0.75)
    assert report.errors == (("503 busy", 2), ("x", 1))
    assert report.ttft is not None
    assert (report.ttft.count, report.ttft.max) == (1, 1.0)


def test_lateness_is_told_with_a_rate() -> None:
    report = report_of([sample(start_s=1.0, sent_s=1.25)], [ROUND], has_rate=True)
    assert report.lag is not None
    assert report.lag.max == 0.25


def test_later_turns_and_shared_beginnings_are_told_apart() -> None:
    asked = [Request(0, 1, 0), Request(0, 2, 0), Request(1, 1, 0, True), Request(1, 2, 0, True)]
    times_s = [8.0, 1.0, 2.0, 1.0]
    samples = [
        replace(sample(first_s=first_s), request=request) for first_s, request in zip(times_s, asked, strict=True)
    ]
    found = dict(report_of(samples, [ROUND], has_rate=False).ttft_of)
    assert {kind: of_kind.mean for kind, of_kind in found.items()} == {
        "first turn": 5.0,
        "later turns": 1.0,
        "beginning of its own": 8.0,
        "shared beginning": 2.0,
    }
    assert report_of(samples[:1], [ROUND], has_rate=False).ttft_of == ()


def test_nothing_answered_is_a_report_without_times() -> None:
    report = report_of([], [], has_rate=False)
    assert (report.ttft, report.tpot, report.gap, report.e2e) == (None,) * 4
    assert (report.requests_per_s, report.error_share) == (0.0, 0.0)


def noisy(factor: float, seed: int, count: int = 40) -> list[Sample]:
    """Requests that differ much from each other, and the same way at each server."""
    sizes = np.random.default_rng(1).uniform(0.2, 3.0, count)
    noise = np.random.default_rng(seed).normal(1.0, 0.02, count)
    return [
        sample(number, first_s=factor * size * jitter, round_number=number)
        for number, (size, jitter) in enumerate(zip(sizes, noise, strict=True))
    ]


def test_a_ratio_is_of_the_same_requests() -> None:
    first, second = noisy(2.0, 2), noisy(1.0, 3)
    found = ratio(ratios_of(run_of(first, second[::-1]), seed=0), "ttft.p50")
    by_hand = np.median([each.chunks_s[0] for each in first]) / np.median([each.chunks_s[0] for each in second])
    assert found.value == pytest.approx(by_hand)
    assert found.low is not None
    assert found.high is not None
    assert 1.8 < found.low <= found.value <= found.high < 2.2  # though requests differ by a factor of fifteen


def test_rounds_may_have_more_and_fewer_requests() -> None:
    rng = np.random.default_rng(4)
    numbers = [number for number in range(12) for _ in range(1 + number % 3)]
    one, other = (
        [
            sample(at, first_s=float(rng.uniform(low, 1.0)), round_number=round_number)
            for at, round_number in enumerate(numbers)
        ]
        for low in (0.5, 0.1)
    )
    found = ratio(ratios_of(run_of(one, other), seed=0), "ttft.p90")
    by_hand = [np.percentile([each.chunks_s[0] for each in of_server], 90) for of_server in (one, other)]
    assert found.value == pytest.approx(by_hand[0] / by_hand[1])
    assert found.low is not None
    assert found.low < found.value


def test_servers_that_are_alike_have_a_ratio_around_one() -> None:
    found = ratio(ratios_of(run_of(noisy(1.0, 2), noisy(1.0, 3)), seed=0), "ttft.p50")
    assert found.low is not None
    assert found.high is not None
    assert found.low <= 1.0 <= found.high


def test_requests_that_one_server_failed_are_not_compared() -> None:
    first = [sample(0, first_s=1.0), sample(1, first_s=9.0, error="no")]
    second = [sample(0, first_s=2.0), sample(1, first_s=100.0)]
    assert ratio(ratios_of(run_of(first, second), seed=0), "ttft.p50").value == 0.5


def test_rates_are_compared_by_the_time_of_each_server() -> None:
    several = [sample(number, round_number=number) for number in range(8)]
    ratios = ratios_of(run_of(several, several, round_s=(1.0, 4.0)), seed=0)
    assert ratio(ratios, "requests_per_s").value == pytest.approx(4.0)
    assert ratio(ratios, "output_tokens_per_s").low == pytest.approx(4.0)


def test_an_interval_of_few_rounds_is_wider() -> None:
    """Student's t of 11 degrees is 2.201, so that at twelve rounds 2.2 sqrt(12 / 11) deviations are wanted."""
    assert confidence(1_000_000) == pytest.approx((2.5, 97.5), abs=0.01)
    assert confidence(12)[0] == pytest.approx(100 * NormalDist().cdf(-2.201 * (12 / 11) ** 0.5), abs=0.1)


@pytest.mark.parametrize("num_rounds", [8, 20])
def test_servers_that_are_alike_are_seldom_told_apart(num_rounds: int) -> None:
    """Nineteen times of twenty an interval holds one; over rounds of such noise, at least nine of ten."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(40):
        one, other = (
            [sample(at, first_s=float(rng.lognormal(0, 0.3)), round_number=at) for at in range(num_rounds)]
            for _ in range(2)
        )
        found = ratio(ratios_of(run_of(one, other), seed=0), "ttft.p50")
        assert found.low is not None
        assert found.high is not None
        wrong += not found.low <= 1.0 <= found.high
    assert wrong <= 4


def test_few_rounds_have_no_interval() -> None:
    assert ratio(ratios_of(run_of([sample()], [sample()]), seed=0), "e2e.p50").low is None


def test_what_only_one_server_did_has_no_ratio_of_times() -> None:
    ratios = ratios_of(run_of([sample(error="no")], [sample()]), seed=0)
    assert [(each.name, each.value) for each in ratios] == [("requests_per_s", 0.0), ("output_tokens_per_s", 0.0)]


def test_answers_of_other_lengths_are_noticed() -> None:
    reports = [report_of([sample(num_chunks=number)], [ROUND], has_rate=False) for number in (100, 98, 60)]
    assert not answers_differ(reports[:2])
    assert answers_differ(reports[1:])


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("ttft.p90<=1000", None),
        ("ttft.p50 < 1000", "ttft.p50 < 1000: it is 1000"),
        ("gap.max<100.5", None),
        ("error_share<=0", "error_share<=0: it is 0.5"),
        ("output_tokens_per_s>=0.5", None),
        ("ratio.ttft.p50<=0.5", None),
        ("ratio.e2e.p50>3", "ratio.e2e.p50>3: the run has no such figure"),
        ("lag.p50<1", "lag.p50<1: the run has no such figure"),
    ],
)
def test_an_expectation_holds_or_says_what_was(text: str, failure: str | None) -> None:
    report = report_of([sample(), sample(1, error="no")], [ROUND], has_rate=False)
    ratios = [Ratio("ttft.p50", 0.5, None, None, is_time=True)]
    assert failures([parse(text, has_ratios=True)], report, ratios) == ([] if failure is None else [failure])


@pytest.mark.parametrize("text", ["ttft<5", "ttft.p50=5", "ttft.p51<5", "ratio.ttft.p50<1", "speed>1", "ttft.p50<"])
def test_an_expectation_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="figures are"):
        parse(text, has_ratios=False)

"""scaleout/scaling.py: how many engines there should be."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from foveal.scaleout.scaling import WAITING_TOKENS, ByWork


@dataclass
class Reported:
    total_num_requests: float
    aggregated_metrics: dict[str, dict[object, float]] | None = field(default_factory=dict)


@pytest.mark.parametrize(
    ("load", "num_replicas"),
    [
        (Reported(0), 0),
        (Reported(24), 3),
        (Reported(8, None), 1),
        (Reported(2, {WAITING_TOKENS: {"a": 1500, "b": 500}}), 2),
        (Reported(24, {WAITING_TOKENS: {"a": 1000}}), 3),
    ],
)
def test_requests_and_waiting_work_each_ask_for_enough_engines(load: Reported, num_replicas: float) -> None:
    assert ByWork(busy_requests=8, busy_tokens=1000)(load)[0] == num_replicas

"""Counts by bucket, and the stages of a request."""

import asyncio
import time

import pytest

from foveal.telemetry import Histogram, collecting_stages, stage


def test_an_observation_is_counted_at_the_first_bound_that_it_does_not_exceed() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.1, 100.0):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 2]
    assert histogram.total == 106.6


def test_stages_are_those_of_a_request_and_of_the_tasks_that_it_starts() -> None:
    async def part(name: str) -> None:
        with stage(name, image=1):
            await asyncio.sleep(0)

    async def request(*names: str) -> list[str]:
        with collecting_stages() as stages:
            await asyncio.gather(*map(part, names))
        await part("too late")
        return [each.name for each in stages]

    async def requests() -> list[list[str]]:
        return list(await asyncio.gather(request("a", "b"), request("c")))

    assert asyncio.run(requests()) == [["a", "b"], ["c"]]


def test_a_stage_has_its_times_and_what_ended_it() -> None:
    before_s = time.monotonic()
    with collecting_stages() as stages, pytest.raises(ValueError, match="no"), stage("fetch", image=2):
        raise ValueError("no")
    (found,) = stages
    assert before_s <= found.started_s <= found.ended_s <= time.monotonic()
    assert (found.facts, found.failure) == ({"image": 2}, "ValueError")

"""engine/runner.py: a batch that fails, memory that is not there. (What it computes is specified in test_engine.)"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from foveal.engine.runner import allocate, one_by_one_if_need_be
from foveal.errors import ConfigError


class Halves:
    """Halves even numbers, all at once; counts its runs."""

    def __init__(self) -> None:
        self.num_runs = 0

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.num_runs += 1
        if any(number % 2 for number in numbers):
            raise ValueError("odd")
        return [number // 2 for number in numbers]


def test_a_batch_that_works_runs_once() -> None:
    halves = Halves()

    assert one_by_one_if_need_be(halves, [2, 4, 6]) == [1, 2, 3]
    assert halves.num_runs == 1


def test_only_those_that_raise_have_exceptions_for_results() -> None:
    results = one_by_one_if_need_be(Halves(), [2, 3, 4])

    assert [type(result) for result in results] == [int, ValueError, int]
    assert (results[0], results[2]) == (1, 2)


def test_one_that_raises_alone_runs_once() -> None:
    halves = Halves()

    assert [type(result) for result in one_by_one_if_need_be(halves, [3])] == [ValueError]
    assert halves.num_runs == 1


def test_nothing_is_not_run() -> None:
    halves = Halves()

    assert one_by_one_if_need_be(halves, []) == []
    assert halves.num_runs == 0


def test_a_cache_that_no_machine_can_hold_names_its_setting() -> None:
    with pytest.raises(ConfigError, match=r"KV cache of 4,611,686,018,427,387,904 bytes: lower engine.kv_cache_bytes"):
        allocate((2**40, 2**20), torch.float32, torch.device("cpu"))

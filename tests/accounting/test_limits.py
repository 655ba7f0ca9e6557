"""Windows of a minute, as plain arithmetic."""

from random import Random

import pytest

from foveal.accounting.limits import Allowance, Limits, Meter, Standing, Window, standing
from foveal.config import LimitConfig


def test_a_window_holds_what_was_taken_in_the_last_minute() -> None:
    window = Window()
    window.take(3, 100.5)
    window.take(4, 130.0)
    assert window.total(130.0) == 7
    assert window.total(160.9) == 7  # 60.4 s after the first
    assert window.total(161.0) == 4
    assert window.total(191.0) == 0


@pytest.mark.parametrize(
    ("amount", "wait_s"),
    [(1, 0.0), (3, 0.0), (4, 161.0 - 140.0), (6, 161.0 - 140.0), (7, 191.0 - 140.0), (10, 191.0 - 140.0), (11, None)],
)
def test_the_wait_is_until_enough_of_the_window_is_over(amount: int, wait_s: float | None) -> None:
    window = Window()
    window.take(3, 100.0)
    window.take(4, 130.9)
    assert window.wait_s(amount, 10, 140.0) == wait_s


def test_after_the_wait_there_is_room_and_a_moment_before_there_is_not() -> None:
    window = Window()
    for second in range(10):
        window.take(1, 100.0 + second)
    wait_s = window.wait_s(3, 10, 115.0)
    assert wait_s is not None
    assert window.wait_s(3, 10, 115.0 + wait_s - 0.001) != 0.0
    assert window.wait_s(3, 10, 115.0 + wait_s) == 0.0


def test_what_is_given_back_makes_room_unless_it_is_forgotten() -> None:
    window = Window()
    window.take(10, 100.0)
    window.give_back(7, 100.9)
    assert window.total(120.0) == 3
    assert window.total(161.0) == 0
    window.give_back(3, 100.0)
    assert window.total(161.0) == 0


def test_no_minute_ever_exceeds_the_limit_and_few_numbers_are_kept() -> None:
    """Someone asks as often as possible for ten minutes."""
    draw, window, limit, now_s = Random(7), Window(), 50, 0.0
    taken: list[tuple[float, int]] = []
    while now_s < 600:
        amount = draw.randint(1, 20)
        if window.wait_s(amount, limit, now_s) == 0.0:
            window.take(amount, now_s)
            taken.append((now_s, amount))
        now_s += draw.random()
    for start_s, _ in taken:
        assert sum(amount for at_s, amount in taken if start_s <= at_s < start_s + 60) <= limit
    assert sum(amount for _, amount in taken) > 8 * limit  # the limit is used, not only kept
    assert len(window._by_second) <= 61


def test_a_key_has_its_own_limits_where_it_has_some() -> None:
    defaults = LimitConfig(10, 20, 30, 40)
    assert Limits().over(defaults) == defaults
    assert Limits(requests_per_minute=1, max_concurrent_requests=0).over(defaults) == LimitConfig(1, 20, 30, 0)


def test_the_standing_tells_of_the_limits_that_there_are() -> None:
    meter = Meter()
    meter.requests.take(2, 100.0)
    meter.generated_tokens.take(700, 100.0)
    found = standing(meter, LimitConfig(2, 0, 500, 9), 100.0)
    assert found == Standing(Allowance(2, 0), None, Allowance(500, 0))
    assert found.is_at_limit
    assert not standing(Meter(), LimitConfig(0, 0, 0, 0), 100.0).is_at_limit

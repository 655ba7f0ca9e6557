"""engine_client/quarantine.py: what is sent to a restarted engine, and who is blamed for a death."""

from __future__ import annotations

import pytest

from foveal.engine_client.quarantine import LONGEST_TRIAL, Quarantine


def after_a_death(running: list[int]) -> Quarantine:
    quarantine = Quarantine()
    quarantine.started(running)
    assert quarantine.died() == []
    return quarantine


def deaths_until_given_up(running: list[int], is_deadly: int) -> tuple[list[int], int]:
    """Play an engine that dies in each step with `is_deadly`, until all others run undisturbed.

    Returns the requests that were given up, and how often the engine died.
    """
    quarantine, in_flight = Quarantine(), [*running]
    sent: list[int] = [*running]
    given_up: list[int] = []
    for num_deaths in range(100):
        if not sent:
            return given_up, num_deaths
        while is_deadly not in sent:
            quarantine.started(sent)
            if not (more := quarantine.came_of_it(sent, in_flight)):
                return given_up, num_deaths
            sent += more
        quarantine.started(sent)
        given_up += quarantine.died()
        in_flight = [i for i in in_flight if i not in given_up]
        sent = quarantine.restarted(in_flight)
    raise TimeoutError


def test_suspects_are_tried_in_halves_and_nothing_else_is_sent_meanwhile() -> None:
    quarantine, in_flight = after_a_death(running=[1, 2, 3, 4, 5]), [1, 2, 3, 4, 5, 6]

    assert quarantine.restarted(in_flight) == [1, 2, 3]
    assert quarantine.is_trying
    assert quarantine.came_of_it([1, 2], in_flight) == []
    assert quarantine.came_of_it([1, 3], in_flight) == [4, 5]
    assert quarantine.came_of_it([1, 4, 5], [*in_flight, 7]) == [6, 7]
    assert not quarantine.is_trying
    assert quarantine.came_of_it([6, 7], in_flight) == []


@pytest.mark.parametrize("num_deaths", [2, 10])
def test_deaths_that_are_nobody_s_fault_fail_nobody(num_deaths: int) -> None:
    quarantine, in_flight = Quarantine(), list(range(40))

    for number in range(num_deaths):
        quarantine.started(in_flight)
        assert quarantine.died() == []
        first = sent = quarantine.restarted(in_flight)
        num_steps = 0
        while quarantine.is_trying:
            quarantine.started(sent)
            sent = quarantine.came_of_it(sent, in_flight) or sent
            num_steps += 1
        assert sorted(first + sent) == in_flight
        assert num_steps == 2 * min(2**number, LONGEST_TRIAL)  # each half has to produce twice as many tokens as before


@pytest.mark.parametrize("num_tokens", [1, 2, 3, 30, LONGEST_TRIAL - 1])
def test_one_that_ends_the_engine_later_than_its_trial_is_found_by_longer_trials(num_tokens: int) -> None:
    """Request 3 ends each engine after so many tokens from it, whoever runs beside it."""
    quarantine, in_flight = Quarantine(), list(range(8))
    given_up: list[int] = []
    num_deaths, sent = 0, [*in_flight]
    while not given_up:
        num_made = 0
        while num_made < num_tokens:
            quarantine.started(sent)
            num_made += 3 in sent
            sent = sorted({*sent, *quarantine.came_of_it(sent, in_flight)})
        quarantine.started(sent)
        given_up = quarantine.died()
        num_deaths += 1
        sent = quarantine.restarted(in_flight)

    assert given_up == [3]
    assert num_deaths <= 2 * (num_tokens.bit_length() + 3)


@pytest.mark.parametrize("is_deadly", [0, 1, 19, 20, 39])
def test_the_one_that_ends_the_engine_is_found_by_halving(is_deadly: int) -> None:
    given_up, num_deaths = deaths_until_given_up(list(range(40)), is_deadly)

    assert given_up == [is_deadly]
    assert num_deaths <= 9  # 1 + log2(40), and 1 or 2 to make sure


def test_a_request_alone_is_given_up_at_its_second_death() -> None:
    assert deaths_until_given_up([7], 7) == ([7], 2)


def test_one_that_passed_its_trial_is_no_suspect_when_the_next_dies() -> None:
    quarantine = after_a_death(running=[1, 2])
    quarantine.restarted([1, 2])
    quarantine.came_of_it([1], [1, 2])
    quarantine.started([1, 2])

    assert quarantine.died() == []  # 2 did not run alone
    assert quarantine.restarted([1, 2, 3]) == [2]
    quarantine.started([2])
    assert quarantine.died() == [2]
    assert quarantine.restarted([1, 3]) == [1, 3]


def test_a_suspect_whose_client_has_left_is_passed_over() -> None:
    quarantine = after_a_death(running=[1, 2, 3])

    assert quarantine.restarted([1, 3]) == [1]
    assert quarantine.came_of_it([], [3]) == [3]


def test_what_a_trial_had_not_begun_with_is_tried_on_its_own() -> None:
    quarantine = after_a_death(running=[1, 2, 3, 4])
    quarantine.restarted([1, 2, 3, 4])
    quarantine.started([1])

    assert quarantine.died() == [1]
    assert quarantine.restarted([2, 3, 4]) == [2]


def test_an_engine_that_cannot_start_changes_nothing() -> None:
    quarantine = after_a_death(running=[1, 2])

    assert quarantine.died() == []
    assert quarantine.restarted([1, 2]) == [1]


def test_a_death_with_nothing_running_blames_nobody() -> None:
    quarantine = Quarantine()

    assert quarantine.died() == []
    assert quarantine.restarted([1, 2]) == [1, 2]

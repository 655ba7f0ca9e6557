"""engine_client/quarantine.py: what is sent to a restarted engine, and who is blamed for a death."""

from __future__ import annotations

from foveal.engine_client.quarantine import Quarantine


def after_a_death(running: list[int]) -> Quarantine:
    quarantine = Quarantine()
    quarantine.started(running)
    assert quarantine.died() == []
    return quarantine


def test_what_did_not_run_is_sent_at_once_and_suspects_one_by_one() -> None:
    quarantine = after_a_death(running=[1, 2])

    assert quarantine.restarted([1, 2, 3, 4]) == [3, 4, 1]
    assert quarantine.came_of_it([3, 4], [1, 2, 3, 4]) == []
    assert quarantine.came_of_it([1, 3], [1, 2, 3, 4]) == [2]
    assert quarantine.came_of_it([2], [1, 2, 3, 4]) == []


def test_only_the_one_on_trial_is_blamed_for_the_second_death() -> None:
    quarantine = after_a_death(running=[1, 2, 3])
    quarantine.restarted([1, 2, 3, 4])
    quarantine.came_of_it([1], [1, 2, 3, 4])
    quarantine.started([1, 2, 4])

    assert quarantine.died() == [2]
    assert quarantine.restarted([1, 3, 4]) == [4, 1]


def test_all_that_run_are_blamed_when_none_is_on_trial() -> None:
    quarantine = after_a_death(running=[1, 2])
    quarantine.restarted([1, 2])
    quarantine.came_of_it([1], [1, 2])
    quarantine.came_of_it([2], [1, 2])
    quarantine.started([1, 2, 3])

    assert sorted(quarantine.died()) == [1, 2]


def test_a_suspect_whose_client_has_left_is_passed_over() -> None:
    quarantine = after_a_death(running=[1, 2, 3])
    quarantine.restarted([1, 2, 3])

    assert quarantine.came_of_it([1], [1, 3]) == [3]


def test_a_death_with_nothing_running_blames_nobody() -> None:
    quarantine = Quarantine()

    assert quarantine.died() == []
    assert quarantine.restarted([1, 2]) == [1, 2]

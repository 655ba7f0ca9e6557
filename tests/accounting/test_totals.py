"""Counts and times of all answers."""

from foveal.accounting.totals import Totals
from tests.accounting.builders import outcome


def test_answers_are_added_up() -> None:
    totals = Totals()
    totals.add(outcome(10, 5, cached=3))
    totals.add(outcome(20, 1, status="aborted", first_s=1.0))
    totals.add(outcome(30, 0, status="failed", first_s=None))
    assert totals.by_status == {"finished": 1, "aborted": 1, "failed": 1}
    assert (totals.prompt_tokens, totals.cached_tokens, totals.completion_tokens) == (60, 3, 6)


def test_times_are_those_to_the_first_token_and_between_the_others() -> None:
    totals = Totals()
    totals.add(outcome(10, 5))  # 0.5 s, then four more tokens in 2 s
    totals.add(outcome(10, 1, first_s=1.0))
    totals.add(outcome(10, 0, first_s=None))
    assert (sum(totals.first_token_s.counts), totals.first_token_s.total) == (2, 1.5)
    assert (sum(totals.token_s.counts), totals.token_s.total) == (1, 0.5)

"""What two answers say about each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foveal.verify.compare import Said, compare

OURS = Said((1, 2, 3), (7, 8), ({7: -0.1, 9: -3.0}, {8: -0.2, 9: -2.0}), "ab", num_image_tokens=1)


def test_the_same_answer_agrees() -> None:
    finding = compare("case", OURS, OURS)
    assert (finding.num_equal, finding.lead, finding.difference) == (2, None, 0)
    assert finding.agrees(0)


def test_another_prompt_differs_whatever_the_answer() -> None:
    finding = compare("case", OURS, replace(OURS, prompt=(1, 2)))
    assert not finding.agrees(100)
    assert (finding.num_prompt, finding.num_their_prompt, finding.difference) == (3, 2, None)


def test_the_largest_difference_of_a_logprob_counts() -> None:
    theirs = replace(OURS, logprobs=({7: -0.1, 9: -3.25}, {8: -0.2, 9: -2.0}))
    finding = compare("case", OURS, theirs)
    assert finding.difference == pytest.approx(0.25)
    assert (finding.agrees(0.2), finding.agrees(0.3)) == (False, True)


@pytest.mark.parametrize(("second", "agrees"), [(-0.25, True), (-0.95, False)])
def test_answers_may_part_at_a_tie_only(second: float, agrees: bool) -> None:
    """Their likeliest token, 6, leads ours, 7, by 0.05 or by 0.75."""
    theirs = replace(OURS, tokens=(6, 8), logprobs=({6: -0.2, 7: second}, {8: -0.2}))
    ours = replace(OURS, logprobs=({7: second, 6: -0.2}, {8: -0.2}))
    finding = compare("case", ours, theirs)
    assert finding.num_equal == 0
    assert finding.lead == pytest.approx(-0.2 - second)
    assert finding.agrees(1) is agrees


def test_what_comes_after_the_parting_is_not_compared() -> None:
    """From there on the two sides were asked different things."""
    theirs = replace(OURS, tokens=(9, 1), logprobs=({7: -0.1, 9: -0.1}, {8: -9.0}))
    ours = replace(OURS, logprobs=({7: -0.1, 9: -0.1}, {8: -0.2}))
    assert compare("case", ours, theirs).difference == 0


def test_sides_that_name_no_token_in_common_differ() -> None:
    assert not compare("case", OURS, replace(OURS, tokens=(5, 6), logprobs=({5: 0.0, 4: -9.0}, {6: 0.0}))).agrees(10)

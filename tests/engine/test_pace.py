"""engine/pace.py: who gets how much of a step's time. The clock stands still unless a test moves it."""

from __future__ import annotations

import pytest

from foveal.engine.pace import FIRST_PROMPT_TOKENS, MIN_PROMPT_TOKENS, Pace


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def learned(streams_s: float, token_s: float, budget_s: float | None = 0.1) -> tuple[Pace, Clock]:
    """A pace of a machine that takes so long for the streams' next tokens, and for a token of a prompt."""
    clock = Clock()
    pace = Pace(budget_s, 512, clock)
    for num_prompt_tokens in (0, 100):
        with pace.timed(4, num_prompt_tokens):
            clock.now_s += streams_s + token_s * num_prompt_tokens
    return pace, clock


def num_pieces(pace: Pace, clock: Clock, piece_s: float, num_streams: int, num_prompt_tokens: int = 0) -> int:
    """How many pieces of encoder work, each of this length, a step holds; at most 1000."""
    has_time = pace.encoder_turn(num_streams, num_prompt_tokens, lambda: False).has_time
    for done in range(1, 1000):
        clock.now_s += piece_s
        if not has_time(False):
            return done
    return 1000


@pytest.mark.parametrize(
    ("streams_s", "token_s", "encodes", "expected"),
    [
        pytest.param(0.02, 0.001, False, 80, id="what the streams leave"),
        pytest.param(0.02, 0.001, True, 40, id="half of it where images wait, too"),
        pytest.param(0.02, 0.0001, False, 512, id="never more than the limit"),
        pytest.param(0.2, 0.001, False, 25, id="a quarter of the budget however long the streams take"),
        pytest.param(0.02, 0.1, False, MIN_PROMPT_TOKENS, id="never so few that a prompt does not get on"),
    ],
)
def test_prompts_get_what_the_measured_speed_allows(
    streams_s: float, token_s: float, encodes: bool, expected: int
) -> None:
    pace, _ = learned(streams_s, token_s)

    assert pace.num_prompt_tokens(4, encodes) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(("budget_s", "num_streams"), [(0.1, 0), (None, 4)])
def test_prompts_get_the_largest_chunks_while_nobody_waits_or_time_is_not_shared_out(
    budget_s: float | None, num_streams: int
) -> None:
    pace, _ = learned(0.02, 0.001, budget_s)

    assert pace.num_prompt_tokens(num_streams, encodes=True) == 512


def test_the_first_chunk_beside_streams_is_short_since_no_speed_is_known() -> None:
    assert Pace(0.1, 512).num_prompt_tokens(1, encodes=False) == FIRST_PROMPT_TOKENS


def test_chunks_shrink_as_the_context_makes_tokens_slower() -> None:
    """Each chunk takes a fixed time as well. Steps come to take the budget, neither less nor more."""
    pace, clock = learned(0.02, 0.0)
    took_s = []
    for step in range(30):
        num_tokens = pace.num_prompt_tokens(4, encodes=False)
        start_s = clock.now_s
        with pace.timed(4, num_tokens):
            clock.now_s += 0.02 + 0.01 + num_tokens * 0.0005 * (1 + step / 10)
        took_s.append(clock.now_s - start_s)

    assert all(0.08 < seconds < 0.11 for seconds in took_s[3:])


@pytest.mark.parametrize(
    ("streams_s", "piece_s", "expected"),
    [
        pytest.param(0.02, 0.01, 8, id="as many pieces as fit beside the streams"),
        pytest.param(0.02, 0.03, 2, id="none that would end too late"),
        pytest.param(0.3, 0.01, 2, id="a quarter of the budget however long the streams take"),
        pytest.param(0.02, 0.5, 1, id="one at least"),
    ],
)
def test_the_encoder_gets_pieces_until_the_budget_is_used(streams_s: float, piece_s: float, expected: int) -> None:
    pace, clock = learned(streams_s, 0.0)

    assert num_pieces(pace, clock, piece_s, num_streams=4) == expected


def test_the_encoder_gets_what_prompts_leave() -> None:
    pace, clock = learned(0.02, 0.001)

    assert num_pieces(pace, clock, 0.0099, num_streams=4, num_prompt_tokens=40) == 4


def test_the_encoder_gets_as_long_as_the_prompts_while_no_stream_decodes() -> None:
    pace, clock = learned(0.0, 0.001)

    assert num_pieces(pace, clock, 0.0099, num_streams=0, num_prompt_tokens=512) == 51


def test_a_run_goes_on_to_its_end_while_nobody_else_can_be_served() -> None:
    pace, clock = learned(0.02, 0.001)
    news = [False]
    has_time = pace.encoder_turn(0, 0, lambda: news[0]).has_time

    clock.now_s += 1000
    assert has_time(False)
    assert not has_time(True)

    news[0] = True
    assert not has_time(False)


def test_without_a_budget_a_step_holds_one_run_of_the_encoder_whatever_else_it_has() -> None:
    pace, clock = learned(0.02, 0.001, budget_s=None)
    has_time = pace.encoder_turn(4, 100, lambda: True).has_time

    clock.now_s += 1000
    assert has_time(False)
    assert not has_time(True)


@pytest.mark.parametrize(("num_streams", "budget_s", "expected"), [(1, 0.1, False), (0, 0.1, True), (1, None, True)])
def test_layers_are_computed_whole_unless_a_stream_waits_for_its_next_token(
    num_streams: int, budget_s: float | None, expected: bool
) -> None:
    pace, _ = learned(0.02, 0.001, budget_s)

    assert pace.encoder_turn(num_streams, 100, lambda: False).takes_whole_layers == expected

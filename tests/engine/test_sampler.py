"""engine/sampler.py: the right distribution, and the same draws in any batch."""

from __future__ import annotations

import math

import pytest
import torch

from foveal.engine.sampler import Row, sample, uniform
from foveal.types import SamplingParams

LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -2.0])
GREEDY = SamplingParams(temperature=0.0)


def row(params: SamplingParams, output: tuple[int, ...] = (), prompt: tuple[int, ...] = (9,)) -> Row:
    return Row(params, (*prompt, *output), len(prompt))


def token_ids(logits: torch.Tensor, rows: list[Row]) -> list[int | None]:
    return [draw and draw.token_id for draw in sample(logits, rows)]


def frequencies(num_draws: int, **params: object) -> list[float]:
    """How often each token is drawn from LOGITS, over as many seeds."""
    rows = [row(SamplingParams(seed=seed, **params)) for seed in range(num_draws)]  # type: ignore[arg-type]  # fields
    drawn = token_ids(LOGITS.expand(num_draws, -1), rows)
    return [drawn.count(token_id) / num_draws for token_id in range(len(LOGITS))]


def softmax(temperature: float, kept: int = 6) -> list[float]:
    return [*(LOGITS[:kept].double() / temperature).softmax(0).tolist(), *[0.0] * (6 - kept)]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        pytest.param({}, softmax(1), id="plain"),
        pytest.param({"temperature": 2.0}, softmax(2), id="hot"),
        pytest.param({"temperature": 0.7}, softmax(0.7), id="cold"),
        pytest.param({"temperature": 1e-9}, softmax(1, kept=1), id="freezing"),
        pytest.param({"top_k": 3}, softmax(1, kept=3), id="top_k"),
        pytest.param({"top_k": 100}, softmax(1), id="top_k beyond the vocabulary"),
        pytest.param({"top_p": 0.75}, softmax(1, kept=2), id="top_p"),
        pytest.param({"top_p": 0.0}, softmax(1, kept=1), id="top_p 0 keeps the likeliest"),
        pytest.param({"top_k": 3, "top_p": 0.7}, softmax(1, kept=2), id="top_p of what top_k left"),
        pytest.param({"min_p": 0.2}, softmax(1, kept=3), id="min_p"),
        pytest.param({"temperature": 0.5, "min_p": 0.1}, softmax(0.5, kept=2), id="min_p after temperature"),
        pytest.param({"typical_p": 0.75}, softmax(1, kept=2), id="typical_p"),
        pytest.param({"top_k": 2, "typical_p": 0.99}, softmax(1, kept=2), id="typical_p of what top_k left"),
        pytest.param({"top_p": 0.75, "typical_p": 1e-9}, softmax(1, kept=1), id="typical_p of what top_p left"),
        pytest.param({"mirostat_target": 20.0}, softmax(1), id="Mirostat with a bound out of reach"),
        pytest.param({"mirostat_target": 1.2}, softmax(1, kept=2), id="Mirostat's first bound"),
    ],
)
def test_draws_follow_the_distribution(params: dict[str, float], expected: list[float]) -> None:
    num_draws = 4000

    observed = frequencies(num_draws, **params)

    assert [share == 0 for share in observed] == [share == 0 for share in expected]
    chi_square = num_draws * sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True) if e)
    assert chi_square < 20.5  # 5 degrees of freedom, one in a thousand


def test_a_request_draws_the_same_tokens_in_any_batch() -> None:
    logits = torch.randn(40, 1000, generator=torch.Generator().manual_seed(1))
    kinds = [{}, {"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.01}, {"temperature": 0.0}, {"top_k": 9, "top_p": 0.5}]
    kinds += [{"typical_p": 0.8}, {"mirostat_target": 4.0}, {"top_p": 0.9, "typical_p": 0.5, "mirostat_target": 2.0}]
    rows = [row(SamplingParams(seed=i, **kinds[i % 9]), output=(1,) * (i % 7)) for i in range(40)]  # type: ignore[arg-type]  # fields

    together = token_ids(logits, rows)
    alone = [token_ids(logits[i : i + 1], rows[i : i + 1])[0] for i in range(40)]
    backwards = token_ids(logits.flip(0), rows[::-1])[::-1]

    assert together == alone == backwards


def test_a_nucleus_of_many_tokens_is_drawn_from_whole() -> None:
    logits = torch.zeros(2, 2000)
    logits[1, 5] = 20.0  # a sharp row beside the flat ones
    rows = [row(SamplingParams(top_p=0.5, seed=seed)) for seed in range(300)]

    drawn = token_ids(logits[[0] * 299 + [1]], rows)

    assert len({*drawn[:299]}) > 240  # of a thousand equal tokens
    assert drawn[299] == 5


@pytest.mark.parametrize("target", [4.0, 5.0, 6.0])
def test_mirostat_holds_the_surprise_at_its_target(target: float) -> None:
    logits = 2 * torch.randn(300, 1000, generator=torch.Generator().manual_seed(1))
    surprise = -logits.double().log_softmax(dim=-1) / math.log(2)
    params = SamplingParams(mirostat_target=target, seed=7)
    drawn, mu = [], None

    for position in range(300):
        [draw] = sample(logits[position : position + 1], [Row(params, (0,) * position, 0, mu)])
        assert draw is not None
        drawn.append(surprise[position, draw.token_id].item())
        mu = draw.mirostat_mu

    assert sum(drawn[50:]) / 250 == pytest.approx(target, abs=0.15)


def test_uniform_is_a_function_of_seed_and_position() -> None:
    numbers = [uniform(seed, position) for seed in range(40) for position in range(40)]

    assert uniform(3, 5) == uniform(3, 5)
    assert len(set(numbers)) == 1600
    assert all(0 <= number < 1 for number in numbers)
    assert abs(sum(numbers) / 1600 - 0.5) < 0.03
    assert uniform(-1, 0) == uniform(2**64 - 1, 0)


@pytest.mark.parametrize(
    ("params", "output", "expected"),
    [
        pytest.param({}, (), 0, id="the likeliest"),
        pytest.param({"frequency_penalty": 0.6}, (0,), 0, id="frequency once"),
        pytest.param({"frequency_penalty": 0.6}, (0, 0), 1, id="frequency twice"),
        pytest.param({"presence_penalty": 1.1}, (0, 0), 1, id="presence"),
        pytest.param({"presence_penalty": 0.9}, (0, 0), 0, id="presence counts once"),
        pytest.param({"frequency_penalty": -3.0}, (3,), 3, id="negative penalties invite"),
        pytest.param({"repetition_penalty": 2.5}, (0,), 1, id="repetition of output"),
        pytest.param({"logit_bias": ((3, 2.5),)}, (), 3, id="bias"),
        pytest.param({"logit_bias": ((0, -100.0), (1, -100.0))}, (), 2, id="bans"),
        pytest.param({"min_tokens": 2, "stop_token_ids": (0, 1)}, (4,), 2, id="min_tokens not reached"),
        pytest.param({"min_tokens": 2, "stop_token_ids": (0, 1)}, (4, 4), 0, id="min_tokens reached"),
        pytest.param({"min_tokens": 1, "stop_token_ids": (0, 99)}, (), 1, id="a stop token beyond the vocabulary"),
    ],
)
def test_what_changes_the_likeliest_token(params: dict[str, object], output: tuple[int, ...], expected: int) -> None:
    adjusted = SamplingParams(temperature=0.0, **params)  # type: ignore[arg-type]  # a table of fields

    assert token_ids(LOGITS.unsqueeze(0), [row(adjusted, output, prompt=(5,))]) == [expected]


ALLOWED = torch.tensor([False, False, True, True, False, False])


@pytest.mark.parametrize(
    ("params", "allowed", "expected"),
    [
        pytest.param({}, ALLOWED, 2, id="the likeliest that the grammar allows"),
        pytest.param({"logit_bias": ((0, 100.0), (3, 1.0))}, ALLOWED, 3, id="no bias gets past a grammar"),
        pytest.param({"min_tokens": 1, "stop_token_ids": (2,)}, ALLOWED, 3, id="min_tokens while there is a choice"),
        pytest.param({"min_tokens": 1, "stop_token_ids": (2, 3)}, ALLOWED, 2, id="a grammar at its end goes before"),
    ],
)
def test_a_grammar_leaves_only_what_it_allows(params: dict[str, object], allowed: torch.Tensor, expected: int) -> None:
    greedy = SamplingParams(temperature=0.0, **params)  # type: ignore[arg-type]  # a table of fields
    drawing = SamplingParams(top_p=0.9, typical_p=0.9, **params)  # type: ignore[arg-type]  # a table of fields

    rows = [row(greedy)._replace(allowed_V=allowed), row(drawing)._replace(allowed_V=allowed), row(GREEDY)]

    assert token_ids(LOGITS.expand(3, -1), rows)[::2] == [expected, 0]
    assert token_ids(LOGITS.expand(3, -1), rows)[1] in (2, 3)


def test_repetition_counts_the_prompt_and_frequency_does_not() -> None:
    rows = [
        row(SamplingParams(temperature=0.0, repetition_penalty=2.5), prompt=(0, 0)),
        row(SamplingParams(temperature=0.0, frequency_penalty=2.0), output=(5,), prompt=(0, 0)),
    ]

    assert token_ids(LOGITS.expand(2, -1), rows) == [1, 0]


def test_a_prompt_may_hold_tokens_that_have_no_logit() -> None:
    penalised = row(SamplingParams(temperature=0.0, repetition_penalty=2.5), prompt=(0, 99))

    assert token_ids(LOGITS.unsqueeze(0), [penalised]) == [1]


def test_one_rows_penalties_leave_the_others_and_the_logits_alone() -> None:
    logits = LOGITS.repeat(2, 1)
    rows = [row(SamplingParams(temperature=0.0, logit_bias=((0, -100.0),))), row(GREEDY)]

    assert token_ids(logits, rows) == [1, 0]
    assert torch.equal(logits, LOGITS.repeat(2, 1))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
def test_logits_that_are_not_numbers_fail_their_own_row(bad: float) -> None:
    logits = LOGITS.repeat(3, 1)
    logits[1] = bad if bad == -math.inf else torch.tensor([0, bad, 0, 0, 0, 0])

    drawn = token_ids(logits, [row(GREEDY), row(SamplingParams()), row(SamplingParams(seed=1))])

    assert drawn[1] is None
    assert None not in (drawn[0], drawn[2])


def test_a_ban_in_the_logits_is_no_failure() -> None:
    logits = LOGITS.clone()
    logits[0] = -math.inf

    assert token_ids(logits.unsqueeze(0), [row(GREEDY)]) == [1]


def test_logprobs_are_those_of_the_model_itself() -> None:
    params = SamplingParams(temperature=0.3, top_k=1, num_logprobs=2, logit_bias=((4, 100.0),))

    [none, draw, alone] = sample(LOGITS.expand(3, -1), [row(GREEDY), row(params), row(SamplingParams(num_logprobs=0))])

    expected = LOGITS.log_softmax(0).tolist()
    assert none is not None
    assert draw is not None
    assert alone is not None
    assert (none.logprob, none.top_logprobs) == (None, ())
    assert draw.token_id == 4
    assert draw.logprob == pytest.approx(expected[4])
    assert [top.token_id for top in draw.top_logprobs] == [0, 1]
    assert [top.logprob for top in draw.top_logprobs] == pytest.approx(expected[:2])
    assert alone.logprob is not None
    assert alone.top_logprobs == ()

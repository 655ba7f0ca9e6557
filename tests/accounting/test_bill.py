"""One request's bill: the most it can take is reserved, what it took is settled."""

import pytest

from foveal.accounting.bill import Bill
from foveal.accounting.limits import Meter
from foveal.accounting.meters import LocalMeters, Terms, check_can_start
from foveal.config import LimitConfig, PriceConfig
from foveal.errors import InvalidRequest, SpendingLimitReached, TooManyRequests
from foveal.types import Caller
from tests.accounting.builders import Clock, at_once, outcome

UNLIMITED = LimitConfig(0, 0, 0, 0)
PRICES = PriceConfig(prompt=1.0, cached_prompt=0.5, completion=2.0)  # a token: 1000, 500, 2000 nano


def bill(
    meter: Meter, limits: LimitConfig = UNLIMITED, funds_nano: int | None = None, clock: Clock | None = None
) -> Bill:
    meters = LocalMeters(clock or Clock(), lambda key_id: 0)
    meters._meters[""] = meter
    return Bill(Caller("r"), "m", meters, Terms(limits, PRICES, funds_nano))


def test_what_was_reserved_and_not_generated_is_given_back() -> None:
    meter = Meter()
    request = bill(meter)
    at_once(request.reserve(100, 50))
    assert (meter.prompt_tokens.total(1_000.0), meter.generated_tokens.total(1_000.0)) == (100, 50)
    assert meter.reserved_nano == 100 * 1000 + 50 * 2000
    request.count(outcome(100, 20))
    request.settle()
    assert (meter.prompt_tokens.total(1_000.0), meter.generated_tokens.total(1_000.0)) == (100, 20)
    assert meter.reserved_nano == 0


def test_several_prompts_are_settled_together() -> None:
    meter, clock = Meter(), Clock()
    request = bill(meter, clock=clock)
    at_once(request.reserve(10, 50))
    clock.s += 10
    at_once(request.reserve(20, 50))
    request.count(outcome(10, 50))
    request.count(outcome(20, 1))
    request.settle()
    assert meter.generated_tokens.total(clock.s) == 51
    assert request.usage.prompt_tokens == 30
    assert request.cost_nano == 30 * 1000 + 51 * 2000


def test_what_never_ran_costs_nothing_and_gives_everything_back() -> None:
    meter = Meter()
    request = bill(meter)
    at_once(request.reserve(100, 50))
    request.settle()
    assert (meter.prompt_tokens.total(1_000.0), meter.generated_tokens.total(1_000.0)) == (0, 0)
    assert (meter.reserved_nano, request.cost_nano) == (0, 0)


def test_what_failed_costs_nothing_and_what_was_left_costs_what_it_took() -> None:
    request = bill(Meter())
    request.count(outcome(100, 20, status="failed"))
    assert request.cost_nano == 0
    request.count(outcome(100, 20, status="aborted", cached=60))
    assert request.cost_nano == 40 * 1000 + 60 * 500 + 20 * 2000
    assert request.status == "failed"


def test_of_equal_requests_as_many_are_let_in_as_the_limit_has_room_for() -> None:
    meter, num_in = Meter(), 0
    limits = LimitConfig(0, 0, 100, 0)
    for _ in range(10):
        try:
            at_once(bill(meter, limits).reserve(1, 30))
            num_in += 1
        except TooManyRequests:
            pass
    assert num_in == 3


def test_a_refusal_takes_nothing() -> None:
    meter = Meter()
    limits = LimitConfig(0, 100, 40, 0)
    at_once(bill(meter, limits).reserve(10, 30))
    with pytest.raises(TooManyRequests):
        at_once(bill(meter, limits).reserve(10, 30))
    assert (meter.prompt_tokens.total(1_000.0), meter.generated_tokens.total(1_000.0)) == (10, 30)
    assert meter.reserved_nano == 10 * 1000 + 30 * 2000


def test_the_wait_that_is_told_is_enough() -> None:
    meter, clock = Meter(), Clock(1_000.4)
    limits = LimitConfig(0, 0, 40, 0)
    at_once(bill(meter, limits, clock=clock).reserve(1, 30))
    clock.s += 20
    with pytest.raises(TooManyRequests) as refused:
        at_once(bill(meter, limits, clock=clock).reserve(1, 30))
    assert refused.value.retry_after_s == 41  # the second of 1000.4 is a minute over at 1061
    assert "Ask again in 41 s" in str(refused.value)
    clock.s += refused.value.retry_after_s
    at_once(bill(meter, limits, clock=clock).reserve(1, 30))


@pytest.mark.parametrize(("prompt", "generated", "param"), [(101, 1, "prompt"), (1, 41, "max_tokens")])
def test_what_no_minute_has_room_for_is_told_at_once(prompt: int, generated: int, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        at_once(bill(Meter(), LimitConfig(0, 100, 40, 0)).reserve(prompt, generated))
    assert refused.value.param == param


def test_concurrent_requests_do_not_exceed_the_spending_limit() -> None:
    meter, cost = Meter(), 10 * 1000 + 10 * 2000
    funds_nano = 2 * cost + 1
    running = [bill(meter, funds_nano=funds_nano) for _ in range(2)]
    for request in running:
        at_once(request.reserve(10, 10))
    with pytest.raises(TooManyRequests, match="may use up"):
        at_once(bill(meter, funds_nano=funds_nano).reserve(10, 10))
    running[0].settle()
    at_once(bill(meter, funds_nano=funds_nano).reserve(10, 10))


def test_a_request_that_could_cost_more_than_is_left_is_refused() -> None:
    with pytest.raises(SpendingLimitReached, match="lower max_tokens"):
        at_once(bill(Meter(), funds_nano=29_999).reserve(10, 10))
    at_once(bill(Meter(), funds_nano=30_000).reserve(10, 10))


@pytest.mark.parametrize(
    ("limits", "funds_nano", "num_running", "error"),
    [
        (LimitConfig(3, 0, 0, 0), None, 0, TooManyRequests),
        (LimitConfig(4, 0, 0, 0), None, 0, None),
        (LimitConfig(0, 0, 0, 2), None, 2, TooManyRequests),
        (LimitConfig(0, 0, 0, 2), None, 1, None),
        (UNLIMITED, 0, 0, SpendingLimitReached),
        (UNLIMITED, -5, 0, SpendingLimitReached),
        (UNLIMITED, 1, 0, None),
        (UNLIMITED, None, 10**6, None),
    ],
)
def test_which_requests_may_start(
    limits: LimitConfig, funds_nano: int | None, num_running: int, error: type[Exception] | None
) -> None:
    meter = Meter(num_running=num_running)
    meter.requests.take(3, 1_000.0)
    terms = Terms(limits, PRICES, funds_nano)
    if error is None:
        check_can_start(meter, terms, 0, 1_000.0)
    else:
        with pytest.raises(error):
            check_can_start(meter, terms, 0, 1_000.0)

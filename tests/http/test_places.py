"""Room for connections, by address."""

from __future__ import annotations

import pytest

from foveal.config import HttpConfig
from foveal.errors import ConfigError
from foveal.http.places import Places


def fill(places: Places, address: str | None, most: int = 100) -> int:
    """How many connections an address gets, of `most` that it tries."""
    return sum(places.take(address) for _ in range(most))


def places(**settings: object) -> Places:
    return Places(HttpConfig(**{"max_connections": 50, "max_connections_per_address": 10, **settings}))  # type: ignore[arg-type] # by name


def test_one_address_has_a_share_and_all_have_a_limit() -> None:
    shared = places()
    assert [fill(shared, f"192.0.2.{number}") for number in range(7)] == [10, 10, 10, 10, 10, 0, 0]


def test_a_place_that_is_left_is_free() -> None:
    shared = places()
    fill(shared, "192.0.2.1")
    shared.leave("192.0.2.1")
    assert fill(shared, "192.0.2.1") == 1


@pytest.mark.parametrize(
    ("first", "second", "are_one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_what_one_subscriber_has_is_one_address(first: str, second: str, are_one: bool) -> None:
    shared = places()
    fill(shared, first)
    assert (fill(shared, second) == 0) is are_one


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", None])
def test_loopback_and_what_has_no_address_are_bounded_by_the_whole_alone(address: str | None) -> None:
    assert fill(places(), address) == 50


def test_a_proxy_can_be_named_and_loopback_left_out() -> None:
    shared = places(trusted_proxies=("10.0.0.0/8",))
    assert (fill(shared, "127.0.0.1"), fill(shared, "10.1.1.1")) == (10, 40)


def test_a_proxy_of_one_ipv6_address_is_trusted_and_its_neighbours_are_not() -> None:
    shared = places(trusted_proxies=("2001:db8::5",))
    assert (fill(shared, "2001:db8::5", 20), fill(shared, "2001:db8::6")) == (20, 10)


def test_zero_is_no_limit() -> None:
    assert fill(places(max_connections=0, max_connections_per_address=0), "192.0.2.1", 10_000) == 10_000


def test_a_proxy_that_is_no_address_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"http\.trusted_proxies holds 'example.com'"):
        places(trusted_proxies=("example.com",))

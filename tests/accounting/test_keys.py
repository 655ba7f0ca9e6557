"""Keys: secrets are told apart, wrong ones are refused, and a server that had keys always requires one."""

from typing import Any

import pytest

from foveal.accounting.keys import Key, KeyRing, check_name, configured_keys, digest_of, new_key
from foveal.errors import ConfigError
from tests.accounting.builders import KEY, SECRET, Clock, key


def ring(*kept: Key, configured: tuple[str, ...] = (), clock: Clock | None = None) -> KeyRing:
    found = KeyRing(configured_keys(configured), clock or Clock())
    found.update(kept)
    return found


def test_a_new_key_is_found_by_its_secret_which_names_it() -> None:
    new = new_key()
    kept = key(id=new.id, digest=new.digest)
    assert ring(KEY, kept).find(new.secret.encode()) is kept
    assert new.secret.split("-")[1] == new.id


def test_no_two_secrets_are_alike_and_each_has_256_random_bits() -> None:
    secrets = {new_key().secret for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(secret.split("-", 2)[2]) == 43 for secret in secrets)


def test_what_is_kept_of_a_key_does_not_tell_its_secret() -> None:
    new = new_key()
    kept = key(id=new.id, digest=new.digest)
    assert new.secret.split("-", 2)[2] not in repr(kept)


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\0",
        b"fvl",
        b"fvl-",
        b"fvl-0123456789ab",
        b"fvl-0123456789ab-",
        SECRET[:-1],
        SECRET + b"x",
        SECRET + b"\0",
        b"fvl-" + SECRET,
        SECRET.upper(),
        KEY.digest,
        KEY.digest.hex().encode(),
        b"fvl-\xff\xfe-\0",
        b"fvl-config-1-x",
        b"config-1",
        b"-" * 10_000,
    ],
)
def test_a_wrong_secret_finds_no_key(wrong: bytes) -> None:
    assert ring(KEY, configured=("s3cret",)).find(wrong) is None


def test_configured_keys_are_called_by_their_place_and_are_the_operators() -> None:
    found = ring(configured=("first", "zweiter-Schlüssel"))
    second = found.find("zweiter-Schlüssel".encode())
    assert second is not None
    assert (second.name, second.is_operator) == ("config-2", True)
    assert found.get("config-2") is second


@pytest.mark.parametrize(
    ("change", "now_s", "is_valid"),
    [
        ({}, 2_000.0, True),
        ({"expires_s": 2_000.0}, 1_999.0, True),
        ({"expires_s": 2_000.0}, 2_000.0, False),
        ({"revoked_s": 1_500.0}, 2_000.0, False),
        ({"revoked_s": 1_500.0, "expires_s": 9_000.0}, 2_000.0, False),
    ],
)
def test_a_key_is_valid_until_it_expires_or_is_revoked(change: dict[str, Any], now_s: float, is_valid: bool) -> None:
    known = key(**change)
    named = key(id="0123456789ab", digest=digest_of(SECRET), **change)
    assert known.is_valid(now_s) is is_valid
    assert (ring(named, clock=Clock(now_s)).find(SECRET) is not None) is is_valid


def test_once_there_were_keys_one_is_required() -> None:
    assert not ring().requires_key
    assert ring(configured=("k",)).requires_key
    assert ring(key(revoked_s=1.0)).requires_key
    assert ring(key(expires_s=1.0)).requires_key


@pytest.mark.parametrize("name", ["", "-x", "a b", "a\n", "ä", "x" * 65, "config-1", "[red]", "a/b"])
def test_names_that_could_be_mistaken_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name"):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "alice@example.com", "team_7.staging-2", "x" * 64])
def test_other_names_are_taken(name: str) -> None:
    check_name(name)

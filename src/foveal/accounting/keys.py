"""Keys: what a client proves with a secret. The secret itself is nowhere but with the client; here is its digest.

A secret names its key (`fvl-<id>-<random>`), so that one digest is compared and not all of them. Keys of the
configuration are texts of the operator's choice: they are compared one and all. A secret has 256 random bits, so
that one SHA-256 is as good as a slow hash.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from foveal.accounting.limits import Limits
from foveal.errors import ConfigError

PREFIX = "fvl"
CONFIGURED = "config-"  # and the place in http.api_keys, from 1: the name of a key of the configuration
DEFAULT_ACCOUNT = "default"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")  # of keys and accounts

_NOBODY = hashlib.sha256(secrets.token_bytes(32)).digest()  # compared with where there is no such key


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key. Times are Unix times in s, money is in billionths of the currency (nano)."""

    id: str
    name: str
    digest: bytes  # SHA-256 of the secret
    account: str = DEFAULT_ACCOUNT
    created_s: float = 0.0
    expires_s: float | None = None
    revoked_s: float | None = None
    limits: Limits = field(default_factory=Limits)
    spending_limit_nano: int | None = None
    spent_nano: int = 0
    is_operator: bool = False  # may read what concerns all: /metrics

    def is_valid(self, now_s: float) -> bool:
        return self.revoked_s is None and (self.expires_s is None or now_s < self.expires_s)


class NewKey(NamedTuple):
    id: str
    secret: str
    digest: bytes


def new_key() -> NewKey:
    """A secret that nobody can guess, with the id that it names."""
    key_id = secrets.token_hex(6)
    secret = f"{PREFIX}-{key_id}-{secrets.token_urlsafe(32)}"
    return NewKey(key_id, secret, digest_of(secret.encode()))


def digest_of(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def check_name(name: str, what: str = "name") -> None:
    """Raises ConfigError for what could be mistaken for something else in a table or a log."""
    if NAME.fullmatch(name) is None or name.startswith(CONFIGURED):
        raise ConfigError(
            f"{name!r} cannot be the {what} of a key: use up to 64 letters, digits and ._@-, beginning with a letter "
            f"or digit, and not with {CONFIGURED}"
        )


def configured_keys(secrets: Sequence[str]) -> list[Key]:
    """The keys of the configuration: the operator's own. Raises ConfigError for one that cannot be meant."""
    if not all(secret.strip() == secret and secret for secret in secrets):
        raise ConfigError("http.api_keys holds an empty key or one with blanks around it; remove it")
    names = [f"{CONFIGURED}{number}" for number in range(1, len(secrets) + 1)]
    return [
        Key(name, name, digest_of(secret.encode()), is_operator=True)
        for name, secret in zip(names, secrets, strict=True)
    ]


class KeyRing:
    """The keys that are known. `now` is the wall clock: keys expire at a date."""

    def __init__(self, configured: Sequence[Key], now: Callable[[], float]) -> None:
        self._configured = configured
        self._now = now
        self._kept: dict[str, Key] = {}  # those of the database, by id, revoked ones too

    @property
    def requires_key(self) -> bool:
        """Once there were keys, none is no way in: the last one that is revoked or expires must not open the server."""
        return bool(self._configured or self._kept)

    def update(self, kept: Iterable[Key]) -> None:
        self._kept = {key.id: key for key in kept}

    def find(self, secret: bytes) -> Key | None:
        """The valid key that this is the secret of. Takes the same time for every wrong secret."""
        digest = digest_of(secret)
        named = self._kept.get(_id_in(secret))
        matches = [hmac.compare_digest(digest, key.digest) for key in self._configured]
        is_named = hmac.compare_digest(digest, named.digest if named else _NOBODY)
        if True in matches:
            return self._configured[matches.index(True)]
        return named if named and is_named and named.is_valid(self._now()) else None

    def get(self, key_id: str) -> Key | None:
        """The key with this id, valid or not; a configured one, or one that is kept."""
        return self._kept.get(key_id) or next((key for key in self._configured if key.id == key_id), None)


def _id_in(secret: bytes) -> str:
    prefix, _, rest = secret.partition(b"-")
    return rest.partition(b"-")[0].decode("latin-1") if prefix == PREFIX.encode() else ""

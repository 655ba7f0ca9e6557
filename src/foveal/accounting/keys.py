"""API keys. Only the client has a key's secret; the server stores its digest.

A secret names its key (`fvl-<id>-<random>`), so that only one digest has to be compared. Keys of the configuration are
any text, so they are all compared. A secret has 256 random bits, so one SHA-256 is as good as a slow hash.
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

_NOBODY = hashlib.sha256(secrets.token_bytes(32)).digest()  # compared where the secret names no key


@dataclass(frozen=True, slots=True)
class Key:
    """One key. Times are Unix times in s, money is in billionths of the currency (nano)."""

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
    is_operator: bool = False  # may read /metrics, which tells of all callers

    def is_valid(self, now_s: float) -> bool:
        return self.revoked_s is None and (self.expires_s is None or now_s < self.expires_s)


class NewKey(NamedTuple):
    id: str
    secret: str
    digest: bytes


def new_key() -> NewKey:
    """A random secret, with the id that it names and its digest."""
    key_id = secrets.token_hex(6)
    secret = f"{PREFIX}-{key_id}-{secrets.token_urlsafe(32)}"
    return NewKey(key_id, secret, digest_of(secret.encode()))


def digest_of(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def check_name(name: str, what: str = "name") -> None:
    """Raises ConfigError for a name that could be mistaken for something else in a table or a log."""
    if NAME.fullmatch(name) is None or name.startswith(CONFIGURED):
        raise ConfigError(
            f"{name!r} cannot be the {what} of a key: use up to 64 letters, digits and ._@-, beginning with a letter "
            f"or digit, and not with {CONFIGURED}"
        )


def configured_keys(secrets: Sequence[str]) -> list[Key]:
    """The operator's own keys, from the configuration. Raises ConfigError for an empty one, or blanks around one."""
    if not all(secret.strip() == secret and secret for secret in secrets):
        raise ConfigError("http.api_keys holds an empty key or one with blanks around it; remove it")
    names = [f"{CONFIGURED}{number}" for number in range(1, len(secrets) + 1)]
    return [
        Key(name, name, digest_of(secret.encode()), is_operator=True)
        for name, secret in zip(names, secrets, strict=True)
    ]


class KeyRing:
    """All known keys. `now` is the wall clock, since keys expire at a date."""

    def __init__(self, configured: Sequence[Key], now: Callable[[], float]) -> None:
        self._configured = configured
        self._now = now
        self._kept: dict[str, Key] = {}  # those of the database, by id, revoked ones too

    @property
    def requires_key(self) -> bool:
        """True once there is any key, valid or not: revoking the last one must not open the server to everybody."""
        return bool(self._configured or self._kept)

    def update(self, kept: Iterable[Key]) -> None:
        self._kept = {key.id: key for key in kept}

    def find(self, secret: bytes) -> Key | None:
        """The valid key with this secret. Takes the same time for every wrong secret."""
        digest = digest_of(secret)
        named = self._kept.get(_id_in(secret))
        matches = [hmac.compare_digest(digest, key.digest) for key in self._configured]
        is_named = hmac.compare_digest(digest, named.digest if named else _NOBODY)
        if True in matches:
            return self._configured[matches.index(True)]
        return named if named and is_named and named.is_valid(self._now()) else None

    def get(self, key_id: str) -> Key | None:
        """The key with this id, valid or not, from the database or the configuration."""
        return self._kept.get(key_id) or next((key for key in self._configured if key.id == key_id), None)


def _id_in(secret: bytes) -> str:
    prefix, _, rest = secret.partition(b"-")
    return rest.partition(b"-")[0].decode("latin-1") if prefix == PREFIX.encode() else ""

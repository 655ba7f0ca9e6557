"""What makes a dialect, the wire of one kind of client: its endpoints, its keys' headers, its errors, its writers.

An endpoint parses its dialect's body into requests and returns a `Generation` of them with a `Writer`. A new wire is a
folder with a `Dialect` in it, and one more name in app.py's DIALECTS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from foveal.errors import RequestError
    from foveal.http.dialects.answers import Answers
    from foveal.http.endpoint import Endpoint
    from foveal.types import Delta


@dataclass(frozen=True, slots=True)
class KeyHeader:
    """A header that a client may send its API key in."""

    name: str
    scheme: str | None = None  # the word before the key, such as Bearer

    def secret_in(self, value: str) -> str:
        """The key in a header's value; empty where there is none, which no key is."""
        if self.scheme is None:
            return value.strip()
        scheme, _, secret = value.partition(" ")
        return secret.strip() if scheme.lower() == self.scheme.lower() else ""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A request names its key in exactly one of `key_headers`."""

    prefixes: tuple[str, ...]  # of its endpoints' paths: what the clients' documented base URLs lead to
    endpoints: tuple[Endpoint, ...]
    key_headers: tuple[KeyHeader, ...]
    error_body: Callable[[RequestError], object]
    error_schema: type  # of what `error_body` returns


class Writer(Protocol):
    """Writes the answers to one request, whole or as a stream. It serves once, so it may keep what it has said."""

    @property
    def media_type(self) -> str:
        """Of the stream."""

    def headers(self, answers: Answers) -> Mapping[str, str]:
        """Of either response, with what is known when it begins."""

    def whole(self, answers: Answers, said: Sequence[Sequence[Delta]]) -> object:
        """The body, for JSON. `said`: the pieces of each choice."""

    def stream(self, answers: Answers) -> AsyncIterator[bytes]:
        """The events, the dialect's last one included. The first one waits for the first delta.

        What `answers.deltas` raises is passed on.
        """

    def failure(self, error: RequestError) -> bytes:
        """The event that ends a stream that could not be finished."""

"""The parts of a dialect, which is one wire format: endpoints, headers that hold keys, error bodies, writers.

An endpoint parses its dialect's body into requests and returns a `Generation` of them with a `Writer`. A new dialect is
a folder with a `Dialect` in it, and one more name in app.py's DIALECTS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

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
        """The secret in a header's value; empty where there is none (no key is empty)."""
        if self.scheme is None:
            return value.strip()
        scheme, _, secret = value.partition(" ")
        return secret.strip() if scheme.lower() == self.scheme.lower() else ""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One wire format. A request sends its key in exactly one of `key_headers`."""

    names: tuple[str, ...]  # of the APIs that it speaks, for the document
    prefixes: tuple[str, ...]  # of its endpoints' paths, as clients' documented base URLs have them
    endpoints: tuple[Endpoint, ...]
    key_headers: tuple[KeyHeader, ...]
    error_body: Callable[[RequestError], object]
    error_schema: type  # of what `error_body` returns
    takes_any_type: bool = False  # bodies whose Content-Type is not JSON, unless a web page sends them
    statuses: Mapping[int, int] = field(default_factory=dict)  # those that it calls by other numbers than errors.py


class Writer(Protocol):
    """Writes the answers to one request, whole or as a stream. A writer is used once, so it may keep state."""

    @property
    def media_type(self) -> str:
        """The stream's content type."""

    def headers(self, answers: Answers) -> Mapping[str, str]:
        """Headers of either response, from what is known when it begins."""

    async def whole(self, answers: Answers, said: Sequence[Sequence[Delta]]) -> object:
        """The body, for JSON. `said`: the deltas of each choice."""

    def stream(self, answers: Answers) -> AsyncIterator[bytes]:
        """The events, including the one that ends the dialect's streams. The first one waits for the first delta.

        Raises what `answers.deltas` raises.
        """

    def failure(self, error: RequestError) -> bytes:
        """The event that ends a stream after an error."""

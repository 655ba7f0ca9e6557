"""A running answer of another server: chunks in, deltas of text out, with the counts and times so far."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

from foveal.errors import CutOff, GenerationFailed, InvalidRequest
from foveal.types import Delta, Outcome, Status, Usage
from foveal.upstream.client import BROKEN_OFF
from foveal.upstream.stream import BadStream, Chunk, Reader

log = logging.getLogger(__name__)


class ForwardedAnswer:
    """A running answer of another server. Counts are its own, or, until it tells them, guesses."""

    grammar = None
    queue_s = None  # the other server has the queue
    warnings: Sequence[str] = ()

    def __init__(self, chunks: AsyncIterator[Chunk], num_choices: int, guess: int, started_s: float) -> None:
        """`guess`: the prompt's tokens."""
        self.first_token_s: float | None = None
        self._chunks = chunks
        self._reader = Reader(num_choices)
        self._guess = guess
        self._started_s = started_s
        self._status: Status = "aborted"  # until it has ended otherwise

    @property
    def total_s(self) -> float:
        return time.monotonic() - self._started_s

    @property
    def usage(self) -> Usage:
        return self._reader.counted or Usage(self._guess, 0, self._guess, 0, self._reader.num_pieces)

    @property
    def outcome(self) -> Outcome:
        return Outcome(self.usage, self._status, self.first_token_s, self.total_s)

    @property
    def prompt_token_ids(self) -> tuple[int, ...]:
        raise _no_tokens()

    def prompt_fragments(self) -> list[str | int]:
        raise _no_tokens()

    def spell(self, token_ids: Iterable[int]) -> str:
        raise _no_tokens()

    async def deltas(self) -> AsyncIterator[Delta]:
        """The deltas of all choices as they come; the last one of each choice has its finish_reason.

        Usage comes after the text. So the last delta of all is held back until the counts are there.
        """
        held: Delta | None = None
        try:
            async for chunk in self._chunks:
                for delta in self._read(chunk):
                    if self.first_token_s is None:
                        self.first_token_s = self.total_s
                    if held is not None:
                        yield held
                    held = delta if self._reader.has_ended else None
                    if held is None:
                        yield delta
            self._check_end()
        except GenerationFailed as error:
            if not self._reader.has_ended:
                self._status = "aborted" if isinstance(error, CutOff) else "failed"
                raise
        if self._reader.has_ended:
            self._status = "finished"
        if held is not None:
            yield held

    def _check_end(self) -> None:
        """Raises GenerationFailed."""
        if not self._reader.has_ended:
            log.warning("the answer of another server ended without a finish reason")
            raise GenerationFailed(BROKEN_OFF)

    def _read(self, chunk: Chunk) -> Iterator[Delta]:
        """Raises GenerationFailed."""
        try:
            yield from self._reader.read(chunk)
        except BadStream as bad:
            log.warning("the answer of another server: %s", bad)
            raise GenerationFailed(BROKEN_OFF) from None


def _no_tokens() -> InvalidRequest:
    return InvalidRequest("Another server runs this model and tells no tokens: leave out what asks for them.")

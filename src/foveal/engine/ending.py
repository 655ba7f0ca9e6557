"""How an answer in a grammar can end: the tokens that close what is open. Imports no torch.

JSON is closed by its marks, so the shortest way out of an open answer is found by trying those first. What a special
token can close, it closes, and a grammar may name the texts that close its free texts. Other grammars go the same way;
where it leads nowhere, their answers end as they would without it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import llguidance.numpy
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Texts of one token, best first: what closes, what a value may be, what comes before the next value, what opens.
CLOSING = ("}", "]", '"')
CLOSING_TEXT = ('"}', '"]', '"')  # where x is a letter of a text, since no mark and no value of JSON begins with it
LETTER = "x"
GOING_ON = ("0", ":", ",", "1", "{", "[", "n", "null", "t", "true", "f", "false", "a", "x", "-", ".", " ")
MAX_LENGTH = 1024  # tokens of a way out
TIME_LIMIT_S = 0.2  # of this thread, for finding one; common schemas need a few milliseconds


class Endings:
    """Ways out of answers, for one tokenizer and the texts that close a grammar's free texts."""

    def __init__(
        self, tokenizer: llguidance.LLTokenizer, special: Sequence[int] = (), closings: Sequence[str] = ()
    ) -> None:
        self._tokenizer, self._special = tokenizer, [*special]
        self._ends_of_text = [tokenizer.tokenize_str(text) for text in closings]
        self._closing, self._closing_text = _tokens(tokenizer, CLOSING), _tokens(tokenizer, CLOSING_TEXT)
        self._letters, self._going_on = _tokens(tokenizer, (LETTER,)), _tokens(tokenizer, GOING_ON)
        self._vocab_size = tokenizer.vocab_size

    def with_closings(self, closings: Sequence[str]) -> Endings:
        """The same for a grammar that names such texts."""
        return Endings(self._tokenizer, self._special, closings) if closings else self

    def closing(self, allowed_V: NDArray[np.bool_]) -> int | None:
        """The token that closes what is open, if one of those that may come next does."""
        is_in_text = allowed_V[self._letters].any()
        ends_of_text = [ids[0] for ids in self._ends_of_text]
        marks = [*ends_of_text, *self._closing_text] if is_in_text else self._closing
        return next((token_id for token_id in (*self._special, *marks) if allowed_V[token_id]), None)

    def way_out(self, matcher: llguidance.LLMatcher) -> list[int] | None:
        """A short way from where `matcher` stands to a whole answer; None where none is found."""
        matcher, way = matcher.deep_copy(), list[int]()
        started_s = time.thread_time()
        while not matcher.is_accepting():
            steps = self._next(matcher)
            is_lost = not steps or len(way) >= MAX_LENGTH or time.thread_time() - started_s > TIME_LIMIT_S
            if is_lost or not matcher.consume_tokens(steps):
                return None
            way += steps
        return way

    def _next(self, matcher: llguidance.LLMatcher) -> list[int]:
        """The tokens to go on with; none where there is no way."""
        if forced := matcher.compute_ff_tokens():
            return forced[:1]
        allowed_V = allowed_tokens(matcher, self._vocab_size)
        if allowed_V[self._letters].any():
            for end in self._ends_of_text:
                if self._closes(matcher, end):
                    return end
        if (found := self.closing(allowed_V)) is not None:
            return [found]
        found = next((token_id for token_id in self._going_on if allowed_V[token_id]), None)
        if found is None and allowed_V.any():
            found = int(allowed_V.argmax())
        return [] if found is None else [found]

    def _closes(self, matcher: llguidance.LLMatcher, end: list[int]) -> bool:
        """Whether no letter can follow these tokens: the free text is over."""
        if matcher.validate_tokens(end) < len(end):
            return False
        after = matcher.deep_copy()
        after.consume_tokens(end)
        return not allowed_tokens(after, self._vocab_size)[self._letters].any()


def allowed_tokens(matcher: llguidance.LLMatcher, vocab_size: int) -> NDArray[np.bool_]:
    """Which tokens may come next, [at least vocab_size]."""
    bits = llguidance.numpy.allocate_token_bitmask(1, vocab_size)
    if not matcher.is_stopped():
        llguidance.numpy.fill_next_token_bitmask(matcher, bits)
        return np.unpackbits(bits.view(np.uint8), bitorder="little").view(np.bool_)
    return np.zeros(bits.size * 32, np.bool_)


def _tokens(tokenizer: llguidance.LLTokenizer, texts: Sequence[str]) -> list[int]:
    """Those of the texts that are one token."""
    found = [tokenizer.tokenize_str(text) for text in texts]
    return [tokens[0] for tokens in found if len(tokens) == 1]

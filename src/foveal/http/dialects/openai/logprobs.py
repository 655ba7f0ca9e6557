"""Writes log-probabilities in the dialect's two formats. Knows tokens and characters, not requests."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.http.dialects.openai.replies import ContentLogprobs, LegacyLogprobs, LogprobEntry, TopLogprobEntry
    from foveal.types import Echo, TokenLogprob

MAX_GAP = 16  # characters of an echo that may belong to no token, between two that have one
LOWEST_LOGPROB = -9999.0  # JSON has no minus infinity; clients expect this number


class TextPosition:
    """Where in a choice's text its next token begins. A character that spans tokens counts with its last one."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0  # characters

    def pass_echo(self, echo: Echo) -> list[int]:
        """The offset of each token of the echo. The choice's own tokens begin after the echo.

        A prompt token that is not in the text (a BOS, an image's placeholder) gets the offset of the next one. Text
        without a token (an image's mark) is skipped.
        """
        offsets, at = [], 0
        for token in echo.tokens:
            piece = self._decoder.decode(token.bytes)
            found = echo.text.find(piece, at, at + len(piece) + MAX_GAP)
            if found < 0:  # the first word of a text may lack the space that its token has
                piece = piece.removeprefix(" ")
                found = echo.text.find(piece, at, at + len(piece))
            offsets.append(max(at, found))
            at = at if found < 0 else found + len(piece)
        self._decoder.reset()
        self._offset = len(echo.text)
        return offsets

    def pass_by(self, token: TokenLogprob) -> int:
        """The offset of this token; the next call is for the one after it."""
        begin = self._offset
        self._offset += len(self._decoder.decode(token.bytes))
        return begin


def content_logprobs(tokens: Sequence[TokenLogprob], position: TextPosition) -> ContentLogprobs:
    return {"content": [_entry(token, position.pass_by(token)) for token in tokens]}


def legacy_logprobs(tokens: Sequence[TokenLogprob], position: TextPosition) -> LegacyLogprobs:
    return {
        "tokens": [token.text for token in tokens],
        "token_ids": [token.token_id for token in tokens],
        "token_logprobs": [None if token.logprob is None else _finite(token.logprob) for token in tokens],
        "top_logprobs": [
            None if token.logprob is None else {top.text: _finite(top.logprob) for top in token.top} for token in tokens
        ],
        "text_offset": [position.pass_by(token) for token in tokens],
    }


def echoed_logprobs(echo: Echo, position: TextPosition) -> LegacyLogprobs:
    """The logprobs of the prompt's tokens: null where a token was not predicted."""
    columns = legacy_logprobs(echo.tokens, TextPosition())
    columns["text_offset"] = position.pass_echo(echo)
    return columns


def _entry(token: TokenLogprob, text_offset: int) -> LogprobEntry:
    return {
        **_top_entry(token),
        "text_offset": text_offset,
        "top_logprobs": [_top_entry(top) for top in token.top],
    }


def _top_entry(token: TokenLogprob) -> TopLogprobEntry:
    entry: TopLogprobEntry = {
        "token": token.text,
        "logprob": _finite(token.logprob),
        "bytes": list(token.bytes),
    }
    if token.token_id is not None:
        entry["token_id"] = token.token_id
    return entry


def _finite(logprob: float | None) -> float:
    return LOWEST_LOGPROB if logprob is None else max(logprob, LOWEST_LOGPROB)

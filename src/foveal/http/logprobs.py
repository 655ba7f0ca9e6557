"""Log-probabilities in the two formats of the wire. Knows tokens and characters, not requests."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.http.replies import ContentLogprobs, LegacyLogprobs, LogprobEntry, TopLogprobEntry
    from foveal.types import TokenLogprob

LOWEST_LOGPROB = -9999.0  # JSON has no minus infinity; clients know this number


class TextPosition:
    """Where in a choice's text its next token begins. A character that spans tokens counts with its last one."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0  # characters

    def pass_by(self, token: TokenLogprob) -> int:
        """Where this token begins; the next call is for the one after it."""
        begin = self._offset
        self._offset += len(self._decoder.decode(token.bytes))
        return begin


def content_logprobs(tokens: Sequence[TokenLogprob], position: TextPosition) -> ContentLogprobs:
    return {"content": [_entry(token, position.pass_by(token)) for token in tokens]}


def legacy_logprobs(tokens: Sequence[TokenLogprob], position: TextPosition) -> LegacyLogprobs:
    return {
        "tokens": [token.text for token in tokens],
        "token_ids": [token.token_id for token in tokens],
        "token_logprobs": [_finite(token.logprob) for token in tokens],
        "top_logprobs": [{top.text: _finite(top.logprob) for top in token.top} for token in tokens],
        "text_offset": [position.pass_by(token) for token in tokens],
    }


def _entry(token: TokenLogprob, text_offset: int) -> LogprobEntry:
    return {
        **_top_entry(token),
        "text_offset": text_offset,
        "top_logprobs": [_top_entry(top) for top in token.top],
    }


def _top_entry(token: TokenLogprob) -> TopLogprobEntry:
    return {
        "token": token.text,
        "token_id": token.token_id,
        "logprob": _finite(token.logprob),
        "bytes": list(token.bytes),
    }


def _finite(logprob: float) -> float:
    return max(logprob, LOWEST_LOGPROB)

"""Offsets of tokens count characters, also where a character spans tokens."""

from __future__ import annotations

from foveal.http.logprobs import TextPosition, legacy_logprobs
from foveal.types import TokenLogprob


def test_a_character_counts_with_its_last_token() -> None:
    euro = "€".encode()
    tokens = [TokenLogprob(i, "", piece, 0.0) for i, piece in enumerate([b"a", euro[:1], euro[1:], b"bc", b"", b"d"])]
    assert legacy_logprobs(tokens, TextPosition())["text_offset"] == [0, 1, 1, 2, 4, 4]


def test_a_position_goes_on_from_piece_to_piece() -> None:
    position = TextPosition()
    tokens = [TokenLogprob(0, "ab", b"ab", 0.0)]
    assert [legacy_logprobs(tokens, position)["text_offset"] for _ in range(3)] == [[0], [2], [4]]

"""Offsets of tokens count characters, also where a character spans tokens."""

from __future__ import annotations

import pytest

from foveal.http.dialects.openai.logprobs import LOWEST_LOGPROB, TextPosition, echoed_logprobs, legacy_logprobs
from foveal.types import Echo, TokenLogprob


def test_a_character_counts_with_its_last_token() -> None:
    euro = "€".encode()
    tokens = [TokenLogprob(i, "", piece, 0.0) for i, piece in enumerate([b"a", euro[:1], euro[1:], b"bc", b"", b"d"])]
    assert legacy_logprobs(tokens, TextPosition())["text_offset"] == [0, 1, 1, 2, 4, 4]


def test_a_position_goes_on_from_piece_to_piece() -> None:
    position = TextPosition()
    tokens = [TokenLogprob(0, "ab", b"ab", 0.0)]
    assert [legacy_logprobs(tokens, position)["text_offset"] for _ in range(3)] == [[0], [2], [4]]


def echo(text: str, *pieces: bytes | str) -> Echo:
    encoded = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
    return Echo(
        text, tuple(TokenLogprob(i, piece.decode(errors="replace"), piece, -1.0) for i, piece in enumerate(encoded))
    )


@pytest.mark.parametrize(
    ("echoed", "offsets"),
    [
        (echo("ab cd", "ab", " cd"), [0, 2]),
        (echo("ab", "<s>", "a", "b"), [0, 0, 1]),  # a token that is not in the text
        (echo("Hello you", "<s>", " Hello", " you"), [0, 0, 5]),  # a space that the text lacks
        (echo("a<image>b", "a", "<|image_1|>", "<|image_1|>", "b"), [0, 1, 1, 8]),  # a mark that no token stands for
        (echo("€1", "€".encode()[:1], "€".encode()[1:], "1"), [0, 0, 1]),
        (echo("<|user|>\nQ", "<|user|>", "\n", "Q"), [0, 8, 9]),
        (echo(""), []),
    ],
)
def test_tokens_of_an_echo_stand_where_its_text_has_them(echoed: Echo, offsets: list[int]) -> None:
    position = TextPosition()
    assert echoed_logprobs(echoed, position)["text_offset"] == offsets
    assert position.pass_by(TokenLogprob(0, "x", b"x", 0.0)) == len(echoed.text)


def test_what_was_not_predicted_is_null_and_what_is_impossible_is_a_number() -> None:
    tokens = (
        TokenLogprob(0, "a", b"a", None),
        TokenLogprob(1, "b", b"b", float("-inf"), (TokenLogprob(2, "c", b"c", -0.5),)),
    )
    columns = echoed_logprobs(Echo("ab", tokens), TextPosition())
    assert columns["token_logprobs"] == [None, LOWEST_LOGPROB]
    assert columns["top_logprobs"] == [None, {"c": -0.5}]

"""Whether a text can fit into a context, without tokenising more of it than the context holds.

Knows how to count the tokens of a piece, not what a token is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHARS_PER_TOKEN = 8  # a text with fewer for each token of the limit is tokenised whole: that is bounded work
PIECE_CHARS = 16_384
CUT_TOKENS = 64  # tokens that a whole text may save where it was cut


def is_long(texts: Sequence[str], limit: int) -> bool:
    return sum(map(len, texts)) > CHARS_PER_TOKEN * limit


def surely_exceeds(texts: Sequence[str], limit: int, count: Callable[[str], int]) -> bool:
    """Whether the texts together surely have more than `limit` tokens. `count`: the tokens of a piece of text.

    The work is bounded by the limit, not by the texts: pieces are counted until there are enough. False says nothing.
    """
    if not is_long(texts, limit):
        return False
    text = "".join(texts)  # apart they would have as many tokens, or more
    num_tokens = 0
    for start in range(0, len(text), PIECE_CHARS):
        num_tokens += max(0, count(text[start : start + PIECE_CHARS]) - CUT_TOKENS)
        if num_tokens > limit:
            return True
    return False

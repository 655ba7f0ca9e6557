"""Marks in questions and answers: which thing of the picture a name stands for.

A mark is one character of Unicode's private use area. In a question it follows a name, in an answer it precedes one.
The model never gets a mark (`unmarked`). In training, the token that ends at a mark has targets about the thing
(targets.py).
"""

import re
from collections.abc import Iterable

SHAPES, MOST_SHAPES = 0xE000, 64  # + 64 * picture + which of its scene's shapes
LETTERS = 0xE100  # + index of a visible character in the scene: before a text that was read
READ = "\ue800"  # after a text that was read
NOTHING = "\ue801"  # the named thing is not shown
GIVEN = "\ue804"  # before and after a part of an answer that a grammar writes, not the model
UNCHANGED, CHANGED = "\ue802", "\ue803"  # of the second of two pictures that differ in one thing
OF_KIND, OF_COLOUR = 0xE810, 0xE830  # + how many shapes there are of a kind, of a colour
IN_PICTURES = 0xE900  # + 16 * how many there are in the first of two pictures + how many in the second
# + 4 * index in COMPARED + index of its answer. After the second of two names: how its thing compares with the first.
# After a guess about a name: whether it is right. After a name of things in two pictures: which picture has more.
# Before an answer about two pictures: whether they differ.
COMPARISONS = 0xEA00
COMPARED = {
    "beside": ("left", "right"),
    "under": ("above", "below"),
    "higher": ("shorter", "taller"),
    "more": ("first", "second", "same"),
    "differ": ("same", "different"),
    "guess": ("wrong", "right"),
}
AT_PLACE = 0xEB00  # + position in a view, of the second of two pictures: what the first one shows there
WORDS = 0xEC00  # + index of a word in the picture: after the property that identifies it
MARK = re.compile("[\ue000-\uf8ff]")
MARKS_BEFORE_A_WORD = re.compile(f" ({MARK.pattern}+)")


def shape(number: int, picture: int = 0) -> str:
    return chr(SHAPES + MOST_SHAPES * picture + number)


def shape_of(mark: str) -> tuple[int, int]:
    """Picture and number of a shape's mark."""
    return divmod(ord(mark) - SHAPES, MOST_SHAPES)


def reading(text: str, first_letter: int) -> str:
    """The text, marked as read from the scene's visible characters, from `first_letter` on."""
    return f"{chr(LETTERS + first_letter)}{text}{READ}"


def letters_in(texts: Iterable[str]) -> int:
    """How many visible characters the texts have; these are the units of letter indices."""
    return sum(len("".join(text.split())) for text in texts)


def of_kind(count: int) -> str:
    return chr(OF_KIND + count)


def of_colour(count: int) -> str:
    return chr(OF_COLOUR + count)


def in_pictures(first: int, second: int) -> str:
    return chr(IN_PICTURES + 16 * first + second)


def compared(name: str, how: int) -> str:
    """The mark of an entry of COMPARED and the index of its answer."""
    return chr(COMPARISONS + 4 * list(COMPARED).index(name) + how)


def at_place(place: int) -> str:
    return chr(AT_PLACE + place)


def word(number: int) -> str:
    return chr(WORDS + number)


def is_compared(mark: str) -> bool:
    return COMPARISONS <= ord(mark) < AT_PLACE


def comparison_of(mark: str) -> tuple[str, int]:
    which, how = divmod(ord(mark) - COMPARISONS, 4)
    return list(COMPARED)[which], how


def compared_once(question: str) -> str:
    """The question with only the last mark of each comparison: before that, not everything compared has been named."""
    found = [mark for mark in MARK.finditer(question) if is_compared(mark[0])]
    last = {comparison_of(mark[0])[0]: mark for mark in found}.values()
    for early in reversed([mark for mark in found if mark not in last]):
        question = question[: early.start()] + question[early.end() :]
    return question


def unmarked(text: str) -> str:
    return MARK.sub("", text)


def parts(text: str) -> list[str]:
    """Marks and the texts between them. A mark before a word is put before the space, since tokens begin with it."""
    return [part for part in re.split(f"({MARK.pattern})", MARKS_BEFORE_A_WORD.sub(r"\1 ", text)) if part]


def is_shape(mark: str) -> bool:
    return SHAPES <= ord(mark) < LETTERS


def is_word(mark: str) -> bool:
    return ord(mark) >= WORDS


def is_letter(mark: str) -> bool:
    return LETTERS <= ord(mark) < ord(READ)


def next_letter(mark: str) -> str:
    return chr(ord(mark) + 1)

"""Text as it arrives, for parsers that wait where there is no more of it yet.

A parser is a generator. It yields where it needs more text, and is resumed when there is some. At the end of the answer
it meets Cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Sequence

Waiting = Generator[None, None, str]
Steps = Generator[None, None, None]

SPACE = " \n\t\r"
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}


class Cut(Exception):
    """The answer has ended where more was expected."""


class NoCall(Exception):
    """What looked like a call is none."""


class Reader:
    """A text, and how much of it is read. What was read since `keep` can be had back."""

    def __init__(self) -> None:
        self.text = ""
        self.is_over = False
        self._at = 0

    def feed(self, text: str) -> None:
        self.text += text

    def keep(self) -> None:
        """Forget what has been read."""
        self.text = self.text[self._at :]
        self._at = 0

    def put_back(self) -> None:
        """Read again from where `keep` was called."""
        self._at = 0

    def take_all(self) -> str:
        """What has not been read."""
        rest, self.text, self._at = self.text[self._at :], "", 0
        return rest

    def take(self, count: int) -> str:
        """The next characters, which are there."""
        self._at += count
        return self.text[self._at - count : self._at]

    @property
    def unread(self) -> str:
        return self.text[self._at :]

    def peek(self) -> Waiting:
        """The next character."""
        while self._at >= len(self.text):
            if self.is_over:
                raise Cut
            yield
        return self.text[self._at]

    def next(self) -> Waiting:
        found = yield from self.peek()
        self._at += 1
        return found

    def space(self) -> Steps:
        while (yield from self.peek()) in SPACE:
            self._at += 1

    def word(self, *words: str) -> Waiting:
        """The one of the words that comes next, with its white space left out. Raises NoCall where none does."""
        start, left, matched = self._at, {word: "".join(word.split()) for word in words}, 0
        if any(not text for text in left.values()):
            return next(word for word, text in left.items() if not text)
        while True:
            yield from self.space()
            character = self.text[self._at]
            left = {word: text for word, text in left.items() if text[matched : matched + 1] == character}
            if not left:
                self._at = start
                raise NoCall
            self._at += 1
            matched += 1
            if found := next((word for word, text in left.items() if len(text) == matched), None):
                return found

    def is_next(self, text: str) -> Generator[None, None, bool]:
        """Whether that text comes next; then it is read."""
        if not text.strip():
            return True
        start = self._at
        try:
            yield from self.word(text)
        except (NoCall, Cut):
            self._at = start
            return False
        return True

    def is_ahead(self, text: str) -> Generator[None, None, bool]:
        """Whether that text comes next. It is not read."""
        start = self._at
        found = yield from self.is_next(text)
        self._at = start
        return found

    def until(self, ends: Sequence[str], give: Callable[[str], None]) -> Waiting:
        """Gives the text before the first of the ends as it comes, and returns that end, which is read."""
        while True:
            unread = self.unread
            found = min(((unread.find(end), -len(end), end) for end in ends if end in unread), default=None)
            if found is not None:
                give(self.take(found[0]))
                self.take(len(found[2]))
                return found[2]
            held = max((overlap(unread, end) for end in ends), default=0)
            if len(unread) > held:
                give(self.take(len(unread) - held))
            if self.is_over:
                raise Cut  # what is held may have been the start of the end
            yield

    # --- values -------------------------------------------------------------------------------------------------------

    def json_value(self, give: Callable[[str], None]) -> Steps:
        """Gives a JSON value as it is written."""
        yield from self.space()
        first = yield from self.peek()
        if first == '"':
            yield from self._json_text(give)
        elif first in "{[":
            yield from self._nested(give)
        else:
            give((yield from self.bare(",}] \n\t\r")))

    def json_text(self) -> Waiting:
        """A JSON text, decoded."""
        yield from self.space()
        if (yield from self.peek()) != '"':
            raise NoCall
        parts: list[str] = []
        yield from self._json_text(parts.append)
        try:
            return str(json.loads("".join(parts), strict=False))
        except ValueError:
            raise NoCall from None

    def bare(self, ends: str) -> Waiting:
        """What stands before any of those characters, which is not read."""
        found = ""
        while (character := (yield from self.peek())) not in ends:
            found += character
            self._at += 1
        return found

    def _json_text(self, give: Callable[[str], None]) -> Steps:
        give((yield from self.next()))
        while True:
            character = yield from self.next()
            if character == "\\":
                character += yield from self.next()
            give(character)
            if character == '"':
                return

    def _nested(self, give: Callable[[str], None]) -> Steps:
        depth = 0
        while True:
            if (yield from self.peek()) == '"':
                yield from self._json_text(give)
                continue
            character = yield from self.next()
            give(character)
            depth += (character in "{[") - (character in "}]")
            if depth == 0:
                return

    def written_value(self, quote: str, give: Callable[[str], None]) -> Steps:
        """Gives as JSON a value as Python or Gemma writes it: texts between quotes, names in objects bare or quoted."""
        yield from self.space()
        first = yield from self.peek()
        if quote not in ("", '"') and first == quote[0] and (yield from self.is_next(quote)):
            give('"')
            yield from self.until([quote], lambda text: give(json.dumps(text, ensure_ascii=False)[1:-1]))
            give('"')
        elif first in "\"'":
            yield from self._python_text(give)
        elif first == "{":
            yield from self._written_object(quote, give)
        elif first in "[(":
            yield from self._written_list(quote, give)
        else:
            give(_scalar((yield from self.bare(",)]} \n\t\r"))))

    def _python_text(self, give: Callable[[str], None]) -> Steps:
        quote = yield from self.next()
        give('"')
        while (character := (yield from self.next())) != quote:
            if character == "\\":
                escaped = yield from self.next()
                give(escaped if escaped in "'`" else "\\" + escaped)
            else:
                give(json.dumps(character, ensure_ascii=False)[1:-1])
        give('"')

    def _written_object(self, quote: str, give: Callable[[str], None]) -> Steps:
        give((yield from self.next()))
        is_first = True
        while True:
            yield from self.space()
            character = yield from self.peek()
            if character == "}":
                give((yield from self.next()))
                return
            if character == ",":
                self._at += 1
                continue
            give("" if is_first else ", ")
            is_first = False
            yield from self._name(quote, give)
            yield from self.word(":")
            give(": ")
            yield from self.written_value(quote, give)

    def _name(self, quote: str, give: Callable[[str], None]) -> Steps:
        first = yield from self.peek()
        if first in "\"'" or (quote and first == quote[0]):
            yield from self.written_value(quote, give)
        else:
            give(json.dumps((yield from self.bare(": ")), ensure_ascii=False))

    def _written_list(self, quote: str, give: Callable[[str], None]) -> Steps:
        self._at += 1
        give("[")
        is_first = True
        while True:
            yield from self.space()
            character = yield from self.peek()
            if character in "])":
                self._at += 1
                give("]")
                return
            if character == ",":
                self._at += 1
                continue
            give("" if is_first else ", ")
            is_first = False
            yield from self.written_value(quote, give)


def _scalar(text: str) -> str:
    """A number or a word as JSON writes it; a text where it is neither."""
    text = _PYTHON_WORDS.get(text, text)
    is_json = text in ("true", "false", "null") or _NUMBER.fullmatch(text)
    return text if is_json else json.dumps(text, ensure_ascii=False)


def overlap(text: str, end: str) -> int:
    """How many of the text's last characters may begin that end."""
    return next((size for size in range(min(len(text), len(end) - 1), 0, -1) if text.endswith(end[:size])), 0)

"""Writes a grammar in llguidance's Lark, rule by rule. Knows which of a checkpoint's tokens are marks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

from foveal.types import Grammar

Literal = Callable[[str], list[str | int]]
"""A text in pieces: the ids of added tokens, and the texts around them (`Tokenizer.literal`)."""

ANY_TEXT = r"/(.|\n)*/"


class Lark:
    """The rules and parts of one grammar, which begins at the rule `start`."""

    def __init__(self, pieces: Literal) -> None:
        self._pieces = pieces
        self._rules: list[str] = []
        self._names: dict[str, str] = {}  # of rules, by what they say
        self._parts: dict[tuple[str, str, bool], tuple[int, Grammar]] = {}  # one of many tools once
        self._closings: list[str] = []

    def rule(self, body: str, name: str | None = None, attributes: str = "") -> str:
        """Adds a rule, unless there is the same one; returns its name."""
        definition = f"{attributes}: {body}"
        if name is None:
            if definition in self._names:
                return self._names[definition]
            name = self._names[definition] = f"rule{len(self._rules)}"
        self._rules.append(name + definition)
        return name

    def reserve(self) -> str:
        """The name of a rule whose body `define` will give: one that leads back to itself."""
        self._rules.append("")
        return f"rule{len(self._rules) - 1}"

    def define(self, name: str, body: str) -> None:
        self._rules[int(name.removeprefix("rule"))] = f"{name}: {body}"

    def text(self, text: str) -> str:
        """An expression for exactly this text, with its marks as tokens."""
        found = [f"<[{piece}]>" if isinstance(piece, int) else quoted(piece) for piece in self._pieces(text)]
        return " ".join(found) or '""'

    def is_token(self, text: str) -> bool:
        """Whether the text is one mark of the tokenizer."""
        pieces = self._pieces(text)
        return len(pieces) == 1 and isinstance(pieces[0], int)

    def has_token(self, text: str) -> bool:
        return any(isinstance(piece, int) for piece in self._pieces(text))

    def part(self, grammar: Grammar) -> str:
        """An expression for another grammar."""
        number, _ = self._parts.setdefault((grammar.kind, grammar.text, grammar.is_strict), (len(self._parts), grammar))
        return f"@part{number}"

    def text_until(self, mark: str, of: str = ANY_TEXT, attributes: str = "") -> str:
        """An expression for a free text and the mark that ends it, which may also be spelled letter by letter."""
        if self.is_token(mark):
            text = self.rule(of, attributes=attributes)
            return f"{text} {self.text(mark)}"
        self._closings.append(mark)
        return self.rule(f"{of} {quoted(mark)}", attributes="[lazy]")

    def grammar(self, source: str) -> Grammar:
        closings = tuple(dict.fromkeys(self._closings))
        return Grammar(
            "composed", "\n".join(self._rules) + "\n", tuple(part for _, part in self._parts.values()), closings, source
        )


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def any_of(expressions: Iterable[str]) -> str:
    return "(" + " | ".join(expressions) + ")"


def in_order(entries: Sequence[tuple[str, bool]], separator: str, lark: Lark) -> str:
    """An expression for entries in order, with a separator between; an entry may be left out unless it is needed.

    All of them are expressions.
    """
    rest = first = lark.rule('""')
    between = f"{separator} " if separator else ""
    for entry, is_needed in reversed(entries):
        skip_first, skip_rest = ("", "") if is_needed else (f" | {first}", f" | {rest}")
        first = lark.rule(f"{entry} {rest}{skip_first}")
        rest = lark.rule(f"{between}{entry} {rest}{skip_rest}")
    return first

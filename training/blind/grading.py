"""When an answer counts as right: each case of the blind evaluation carries one of these rules."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ORDINALS = ("first", "second", "third", "fourth", "fifth")
SAME = {
    "cannot": "can not",
    "unable to": "can not",
    "colour": "color",
    "coloured": "colored",
    "grey": "gray",
    "violet": "purple",
    "recognise": "recognize",
    "image": "picture",
    "photo": "picture",
    "1st": "first",
    "2nd": "second",
    "3rd": "third",
    "4th": "fourth",
    "5th": "fifth",
    "i'm": "i am",
    "it's": "it is",
    "there's": "there is",
} | {word: str(number) for number, word in enumerate(NUMBER_WORDS)}
RELATIONS = {
    "left": ("left", "leftmost"),
    "right": ("right", "rightmost"),
    "above": ("above", "over", "on top", "higher"),
    "below": ("below", "under", "beneath", "underneath", "lower"),
}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
REASONS = {
    "unreadable": (
        "can not read",
        "can not be read",
        "can not make out",
        "not readable",
        "unreadable",
        "illegible",
        "not legible",
        "too small",
        "too tiny",
        "too blurry",
        "too blurred",
        "blurry",
        "blurred",
        "not clear",
        "unclear",
        "not sharp",
        "can not tell what it says",
    ),
    "kind": (
        "kind of picture",
        "type of picture",
        "sort of picture",
        "kind of pictures",
        "not recognize",
        "not know what this",
        "not know what it",
        "not know this",
        "only know",
        "not know such",
        "unfamiliar",
    ),
    "absent": (
        "there is no",
        "there are no",
        "there is not",
        "there are not",
        "not there",
        "not see",
        "not in picture",
        "not in this picture",
        "nothing",
        "not shown",
        "not present",
        "not contain",
        "not have",
        "has no",
        "contains no",
        "shows no",
        "see no",
        "no such",
        "absent",
        "missing",
    ),
}
FRAME_TEXT = (
    "it says word text reads is written sign picture in on that say printed shows this here letters label i "
    "see s read red blue green purple black white top bottom upper lower and"
)
READING_FRAME = frozenset(FRAME_TEXT.split())


@dataclass(frozen=True)
class Reply:
    """What a server answered: its text, and the name and the arguments of each tool call."""

    text: str
    calls: tuple[tuple[str, str], ...] = ()


class Rule(Protocol):
    """Says whether a reply is right."""

    def accepts(self, reply: Reply) -> bool: ...


def normalise(text: str) -> str:
    """Lower case, without articles and punctuation, with digits for number words and one spelling of each word."""
    text = text.lower().replace("\u2019", "'")
    text = re.sub(r"\bcan't\b", "cannot", text)
    text = re.sub(r"n't\b", " not", text)
    for other, usual in SAME.items():
        text = re.sub(rf"(?<![\w']){re.escape(other)}(?![\w'])", usual, text)
    words = re.sub(r"[^a-z0-9 ]+", " ", text).split()
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def says(text: str, phrases: Iterable[str]) -> bool:
    """Whether a normalised text has one of the phrases, at the borders of words."""
    return any(f" {normalise(phrase)} " in f" {text} " for phrase in phrases)


def place(text: str, phrases: Iterable[str]) -> int:
    """Where the first of the phrases begins in a normalised text, or -1."""
    places = [f" {text} ".find(f" {normalise(phrase)} ") for phrase in phrases]
    return min((at for at in places if at >= 0), default=-1)


def declines(text: str) -> bool:
    """Whether a normalised text gives any reason for not answering."""
    return any(says(text, phrases) for phrases in REASONS.values())


@dataclass(frozen=True)
class Choice:
    """Has one of the right phrases, none of the others, and no "not"; in one word where one was asked for."""

    right: tuple[str, ...]
    others: tuple[str, ...] = ()
    one_word: bool = False

    def accepts(self, reply: Reply) -> bool:
        text = normalise(reply.text)
        if self.one_word and len(text.split()) != 1:
            return False
        return says(text, self.right) and not says(text, self.others) and not says(text, ("not", "neither"))


@dataclass(frozen=True)
class YesNo:
    """Starts with yes or no, or says that there is something or that there is none."""

    right: bool
    one_word: bool = False

    def accepts(self, reply: Reply) -> bool:
        text = normalise(reply.text) + " "
        if self.one_word and len(text.split()) != 1:
            return False
        if text.startswith(("no ", "nope ", "there is no ", "there are no ", "there is not ", "there are not ")):
            return not self.right
        return self.right and text.startswith(("yes ", "yeah ", "yep ", "there is ", "there are "))


@dataclass(frozen=True)
class Number:
    """Names this number and no other one; none and no count as 0, and a single one as 1."""

    right: int

    def accepts(self, reply: Reply) -> bool:
        text = normalise(reply.text)
        numbers = {int(word) for word in text.split() if word.isdigit()}
        if not numbers and says(text, ("none", "no", "there are not any")):
            numbers = {0}
        if not numbers and says(text, ("single",)):
            numbers = {1}
        return numbers == {self.right}


@dataclass(frozen=True)
class Relation:
    """Says where the subject is from the other thing; "the circle is below the star" also says: the star is above."""

    subject: tuple[str, ...]
    other: tuple[str, ...]
    right: str

    def accepts(self, reply: Reply) -> bool:
        text = normalise(reply.text)
        said = [name for name, phrases in RELATIONS.items() if says(text, phrases)]
        if len(said) != 1 or says(text, ("not",)):
            return False
        return (OPPOSITE[said[0]] if self._turned(text, said[0]) else said[0]) == self.right

    def _turned(self, text: str, said: str) -> bool:
        subject, other, relation = (place(text, words) for words in (self.subject, self.other, RELATIONS[said]))
        if subject < 0 or other < 0:
            return False
        relation_first = relation < min(subject, other)
        return (subject < other) if relation_first else (other < subject)


@dataclass(frozen=True)
class Reading:
    """Has the word, and apart from it only words that lead up to it; in one word where one was asked for."""

    right: str
    one_word: bool = False

    def accepts(self, reply: Reply) -> bool:
        words = normalise(reply.text).split()
        if self.one_word and len(words) != 1:
            return False
        right = normalise(self.right)
        return right in words and all(word == right or word in READING_FRAME for word in words)


@dataclass(frozen=True)
class Description:
    """Has a phrase of each group and none of the untrue ones, and does not decline."""

    groups: tuple[tuple[str, ...], ...]
    untrue: tuple[str, ...]

    def accepts(self, reply: Reply) -> bool:
        text = normalise(reply.text)
        return all(says(text, group) for group in self.groups) and not says(text, self.untrue) and not declines(text)


@dataclass(frozen=True)
class Decline:
    """Gives the true reason and no other one, and claims nothing untrue; or names what is really there."""

    reason: str
    also: tuple[str, ...] = ()
    untrue: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()

    def accepts(self, reply: Reply) -> bool:
        # "I only know words and charts" does not claim that there is a word or a chart.
        text = normalise(re.sub(r"only know[^.;]*", "only know", reply.text))
        wrong = [phrase for name, phrases in REASONS.items() if name != self.reason for phrase in phrases]
        if says(text, self.untrue):
            return False
        if says(text, self.instead):
            return True
        return says(text, (*REASONS[self.reason], *self.also)) and not says(text, wrong)


@dataclass(frozen=True)
class Answered:
    """A clear question on a clear picture: the rule below holds, and nothing is declined."""

    rule: Rule

    def accepts(self, reply: Reply) -> bool:
        return self.rule.accepts(reply) and not declines(normalise(reply.text))


def same(right: object, given: object) -> bool:
    """Equal as JSON: text as normalised, lists in any order, and true is not 1."""
    if isinstance(right, dict):
        return isinstance(given, dict) and right.keys() == given.keys() and all(same(right[k], given[k]) for k in right)
    if isinstance(right, list):
        return isinstance(given, list) and same_lists(right, given)
    if isinstance(right, str):
        return isinstance(given, str) and normalise(right) == normalise(given)
    return type(right) is type(given) and right == given


def same_lists(right: Sequence[object], given: Sequence[object]) -> bool:
    """Equal as lists without an order."""
    left = list(given)
    for item in right:
        at = next((i for i, other in enumerate(left) if same(item, other)), None)
        if at is None:
            return False
        del left[at]
    return not left


def parsed(text: str) -> object:
    """The JSON of a text, or None."""
    try:
        return json.loads(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class JsonAnswer:
    """The text is a JSON object with just these values."""

    right: dict[str, Any]

    def accepts(self, reply: Reply) -> bool:
        return same(self.right, parsed(reply.text))


@dataclass(frozen=True)
class ToolCall:
    """One call of this tool with just these arguments."""

    name: str
    right: dict[str, Any]

    def accepts(self, reply: Reply) -> bool:
        if len(reply.calls) != 1:
            return False
        name, arguments = reply.calls[0]
        return name == self.name and same(self.right, parsed(arguments))

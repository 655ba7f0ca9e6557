"""What all tables of questions share: a question found in a scene, and the names of things in a sentence."""

import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from training.phrases import SYNONYMS
from training.scene import Scene

QUOTED = re.compile(r'"(.*)"')  # in an answer: what was read
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Found:
    """A question that a scene can answer: the values for its phrasing, and the answer."""

    fill: dict[str, str]
    answer: str
    phrasing: str | None = None  # the kind of question whose phrasings to use instead of its own
    short: str | int | None = None  # the answer in a word, a number, or as true or false


Finder = Callable[[random.Random, Scene], Found | None]
Table = dict[str, tuple[float, Finder]]  # kind: how often it is asked, and how it is found


def article(name: str) -> str:
    return ("an " if name[0] in "aeiou" else "a ") + name


def listing(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def plural(name: str) -> str:
    return name + ("es" if name.endswith(("s", "x")) else "s")


def there_are(number: int, name: str) -> str:
    return f"There {'is' if number == 1 else 'are'} {NUMBERS[number]} {name if number == 1 else plural(name)}."


def capital(sentence: str) -> str:
    """The same with its first letter a capital; marks may stand before it."""
    return re.sub("[a-z]", lambda first: first[0].upper(), sentence, count=1)


def other(rng: random.Random, names: Iterable[str], taken: Iterable[str]) -> str:
    """One of the names that are not taken."""
    excluded = set(taken)
    return rng.choice([name for name in names if name not in excluded])


def called(rng: random.Random, kind: str) -> str:
    """One of the names that people use for the kind."""
    return rng.choice(SYNONYMS.get(kind, (kind,)))

"""The words of questions, read from phrases.toml. It knows nothing of pictures."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RAW: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


@dataclass(frozen=True)
class Phrases:
    trained: tuple[str, ...]
    held_out: tuple[str, ...]


# What "it" stands for instead, in the phrasings of a kind that is asked about something just named.
NAMED = re.compile(r"\b[Tt]he \{name\}(?: (?:one|thing|object|\{shape_word\}))?")


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.strip().split("\n"))


def _trained(phrases: dict[str, str]) -> tuple[str, ...]:
    """The kind's own phrasings, {pair} in each of its ways, and those of the kind that it asks `of` what was named."""
    own = [template.replace("{pair}", pair) for template in _lines(phrases["trained"]) for pair in _pairs(template)]
    of = _lines(RAW["kinds"][phrases["of"]]["trained"]) if "of" in phrases else ()
    return (*own, *(NAMED.sub("{name}", template) for template in of if NAMED.search(template)))


def _pairs(template: str) -> list[str]:
    return RAW["pairs"] if "{pair}" in template else [""]


WORDS: dict[str, tuple[str, ...]] = {slot: tuple(words) for slot, words in RAW["words"].items()}
SYNONYMS: dict[str, tuple[str, ...]] = {name: tuple(words) for name, words in RAW["synonyms"].items()}
PREFIXES, SUFFIXES, SYSTEMS = (tuple(RAW[name]) for name in ("prefixes", "suffixes", "systems"))
SOFT_WORDS = frozenset(RAW["soft_words"].split())
JUMBLE: list[str] = RAW["jumble"].split()
PHRASES: dict[str, Phrases] = {
    kind: Phrases(_trained(phrases), _lines(phrases["held_out"])) for kind, phrases in RAW["kinds"].items()
}
# Apart, so that the words of the other file, which questions and the evaluation's samples depend on, stay as they are.
PLAIN: dict[str, Any] = tomllib.loads(Path(__file__).with_name("plainly.toml").read_text("utf-8"))
PHRASES |= {
    kind: Phrases(_lines(phrases["trained"]), _lines(phrases["held_out"])) for kind, phrases in PLAIN["kinds"].items()
}

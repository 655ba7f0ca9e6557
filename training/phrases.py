"""The words of questions, read from phrases.toml. It knows nothing of pictures."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RAW: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


@dataclass(frozen=True)
class Phrases:
    trained: tuple[str, ...]
    held_out: tuple[str, ...]


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.strip().split("\n"))


WORDS: dict[str, tuple[str, ...]] = {slot: tuple(words) for slot, words in RAW["words"].items()}
SYNONYMS: dict[str, tuple[str, ...]] = {name: tuple(words) for name, words in RAW["synonyms"].items()}
PREFIXES, SUFFIXES, SYSTEMS = (tuple(RAW[name]) for name in ("prefixes", "suffixes", "systems"))
SOFT_WORDS = frozenset(RAW["soft_words"].split())
JUMBLE: list[str] = RAW["jumble"].split()
PHRASES: dict[str, Phrases] = {
    kind: Phrases(_lines(phrases["trained"]), _lines(phrases["held_out"])) for kind, phrases in RAW["kinds"].items()
}

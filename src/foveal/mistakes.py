"""What to say to a person who mistyped a setting: which words it takes, which name was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_WORDS = {bool: "true or false", float: "a number", int: "a whole number", str: "text"}
_MISSING = "Object missing required field "


def meant(name: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to a mistyped one, if one is near."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)


def wrong_value(error: str, settings: type) -> str:
    """msgspec's message about a value of `settings`, with the setting's name and what it takes."""
    problem, _, place = error.partition(" - at `$.")
    place = place.rstrip("`")
    if problem.startswith(_MISSING):
        return f"{place} lacks {problem.removeprefix(_MISSING).strip('`')}"
    return f"{place} has to be {_words(_type_at(place, settings))}"


def _type_at(place: str, settings: Any) -> Any:
    """`http.port` -> int; `models[0].name` and `http.api_keys[1]` -> str."""
    for name in re.findall(r"[a-z]\w*", place):
        if get_origin(settings) is tuple:
            settings = get_args(settings)[0]
        settings = _unless_none(get_type_hints(settings)[name])
    return get_args(settings)[0] if place.endswith("]") else settings


def _unless_none(kind: Any) -> Any:
    if get_origin(kind) not in (Union, UnionType):
        return kind
    (only,) = (each for each in get_args(kind) if each is not NoneType)
    return only


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        *others, last = get_args(kind)
        return f"{', '.join(others)} or {last}"
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return "a list of tables" if is_dataclass(item) else f"a list of {_WORDS[item].removeprefix('a ')}s"
    return "a table" if is_dataclass(kind) else _WORDS[kind]

"""What clients said, as sentinels that a template can move about, and back.

A sentinel is the number of a text between two control characters. Words of an identifier's letters stay as they are:
templates compare them (`param.type == "string"`), and they cannot become a special token. In JSON that a template makes
with `tojson`, a sentinel stands for the text as JSON writes it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from foveal.types import Tool, ToolCall

_PAD = "\x1c"  # white space that no template writes: where a filter trims a text, it trims this from the sentinel
_WORD = re.compile(r"[A-Za-z0-9_-]{0,64}")
_IN_JSON = re.compile(r"(?:\\u001c)?\\u0002(j*\d+)\\u0003(?:\\u001c)?")


@dataclass(frozen=True, slots=True)
class CallOutline:
    """What a template wants of past calls."""

    as_text: bool = False  # arguments as JSON text, not as an object
    short_ids: bool = False  # of nine letters and digits


class Told:
    """The texts of one conversation. Those of messages come first; others follow as they are met."""

    SENTINEL = f"(?P<left>{_PAD}?)\x02(?P<json>j*)(?P<number>\\d+)\x03(?P<right>{_PAD}?)"

    def __init__(self, texts: Sequence[str], calls: CallOutline = CallOutline()) -> None:
        self._texts = [*texts]
        self._calls = calls

    def sentinel(self, number: int) -> str:
        return f"{_PAD}\x02{number}\x03{_PAD}"

    def text(self, sentinel: re.Match[str]) -> str:
        """What a sentinel stands for, without the white space that a filter took from it."""
        text = self._texts[int(sentinel["number"])]
        if sentinel["json"]:
            for _ in sentinel["json"]:
                text = json.dumps(text, ensure_ascii=False)[1:-1]
            return text
        text = text if sentinel["left"] else text.lstrip()
        return text if sentinel["right"] else text.rstrip()

    def value(self, value: Any) -> Any:
        """A JSON value with sentinels for its texts, names in objects included."""
        if isinstance(value, str):
            if _WORD.fullmatch(value):
                return value
            self._texts.append(value)
            return self.sentinel(len(self._texts) - 1)
        if isinstance(value, Mapping):
            return {self.value(name): self.value(part) for name, part in value.items()}
        return [*map(self.value, value)] if isinstance(value, list) else value

    def tool(self, tool: Tool) -> dict[str, Any]:
        """A tool in the form that templates know."""
        described = {"description": tool.description} if tool.description else {}
        function = {"name": tool.name, **described, "parameters": msgspec.json.decode(tool.parameters)}
        return {"type": "function", "function": self.value(function)}

    def call(self, call: ToolCall) -> dict[str, Any]:
        """A call in the form that templates know."""
        arguments = call.arguments if self._calls.as_text else _decoded(call.arguments)
        function = {"name": call.name, "arguments": arguments}
        return {"id": self.call_id(call.id), "type": "function", "function": self.value(function)}

    def call_id(self, call_id: str) -> Any:
        """The id of a call. Those that are too long for a template become others, each always the same."""
        if self._calls.short_ids and not re.fullmatch(r"[A-Za-z0-9]{9}", call_id):
            return hashlib.sha256(call_id.encode()).hexdigest()[:9]
        return self.value(call_id)


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The filter of the transformers library, which also keeps sentinels."""
    made = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    return _IN_JSON.sub("\x02j\\1\x03", made)


def _decoded(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments

"""The form of calls that a checkpoint's own template writes, found by writing conversations with it.

Calls with known names and values are written: one call, two calls, and three arguments. What stands around them is the
form. Knows nothing of families.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from foveal.conversation.tools.form import Form, Parameters
from foveal.types import Message, Tool, ToolCall

Write = Callable[[Sequence[Message], Sequence[Tool]], str | None]
"""The text of a conversation; None where it cannot be written (`Template.written`)."""

_NAMES = ("probe_one", "probe_two")
_KEYS = ("key_first", "key_later", "key_third")
_VALUES = ("valuefirst", "valuelater", 70717)
_TEXT = "Zanswer"
_PROPERTIES = {
    key: {"type": "string" if isinstance(v, str) else "integer"} for key, v in zip(_KEYS, _VALUES, strict=True)
}
_SCHEMA = json.dumps({"type": "object", "properties": _PROPERTIES, "required": [*_KEYS]})
_TOOLS = tuple(Tool(name, "Probes.", _SCHEMA) for name in _NAMES)
_ASKED = Message("user", ("Q",))
_HEAD_OF_OBJECT = re.compile(r"\{\s*\"\w+\":\s*\"$")


def takes_tools(write: Write) -> bool:
    """Whether a template shows tools to the model."""
    return _NAMES[0] in (write((_ASKED,), _TOOLS[:1]) or "")


def takes_long_ids(write: Write) -> bool:
    """Whether a template writes calls whose ids are not nine letters and digits."""
    call = ToolCall("call_with-a-long-id", _NAMES[0], "{}")
    result = Message("tool", ("R",), tool_call_id=call.id)
    return write((_ASKED, Message("assistant", (), tool_calls=(call,)), result), _TOOLS) is not None


def found_form(write: Write) -> Form | None:
    """The form in which `write` writes calls; None where it writes none, or one that no rules are known for."""
    one, two = _turn(write, 1), _turn(write, 2)
    if _NAMES[0] not in one or _NAMES[1] not in two:
        return None
    prefix, _, rest = one.partition(_NAMES[0])
    between, arguments = _as_object(rest), _as_parameters(rest)
    if between is not None:
        end_of_arguments = re.escape(f'"{_KEYS[2]}"') + rf":\s*{_VALUES[2]}\s*}}"
        suffix = re.split(end_of_arguments, rest, maxsplit=1)[1]
        middle = re.split(end_of_arguments, two.partition(_NAMES[0])[2], maxsplit=1)[1].partition(_NAMES[1])[0]
        return _form(prefix.lstrip(), without_id(between), without_id(suffix).rstrip(), without_id(middle), None)
    if arguments is not None:
        between, parameters, suffix = arguments
        end = f"{_VALUES[2]}{parameters.after}"
        middle = two.partition(_NAMES[0])[2].partition(end)[2].partition(_NAMES[1])[0]
        return _form(prefix.lstrip(), between, suffix.rstrip(), middle, parameters)
    return None


def without_id(between: str) -> str:
    """A text around arguments without the id of a call, which a model makes up or leaves out."""
    return re.sub(r"\[CALL_ID\]call0000\d|,\s*\"id\":\s*\"call0000\d\"", "", between)


def _turn(write: Write, num_calls: int) -> str:
    """What the template writes for an assistant's turn with calls, without what it writes for every turn."""
    arguments = json.dumps(dict(zip(_KEYS, _VALUES, strict=True)))
    calls = tuple(ToolCall(f"call0000{i}", name, arguments) for i, name in enumerate(_NAMES[:num_calls]))
    with_calls = write((_ASKED, Message("assistant", (), tool_calls=calls)), _TOOLS) or ""
    with_text = write((_ASKED, Message("assistant", (_TEXT,))), _TOOLS) or ""
    start = len(_common_start(with_calls, with_text))
    end = len(_common_end(with_calls[start:], with_text[start:]))
    return with_calls[start : len(with_calls) - end]


def _as_object(rest: str) -> str | None:
    """What stands between the name and a JSON object of the arguments."""
    match = re.match(r"([^\n]{0,40}?\n?.{0,20}?)\{\s*" + re.escape(f'"{_KEYS[0]}"') + r":", rest, re.DOTALL)
    return match[1] if match else None


def _as_parameters(rest: str) -> tuple[str, Parameters, str] | None:
    """What stands before the arguments, the texts around each, and what follows the last."""
    texts = [*_KEYS[:1], str(_VALUES[0]), _KEYS[1], str(_VALUES[1]), _KEYS[2], str(_VALUES[2])]
    gaps, position = list[str](), 0
    for text in texts:
        found = rest.find(text, position)
        if found < 0:
            return None
        gaps.append(rest[position:found])
        position = found + len(text)
    first, middle, later, _, last, of_number = gaps
    quote = middle[len(_common_start(middle, of_number)) :]
    later = later.removeprefix(quote)
    if last.removeprefix(quote) != later or "{'" in first:  # the last is what Python writes for a dictionary
        return None
    before = _from_mark(_common_end(first, later))
    gap, tail = later[: len(later) - len(before)], rest[position:]
    after = _common_start(gap, tail)
    words = ("True", "False", "None") if quote in ('"', "'") else ("true", "false", "null")
    parameters = Parameters(before, of_number, after, gap[len(after) :], quote, *words)
    return first[: len(first) - len(before)], parameters, tail[len(after) :]


def _from_mark(text: str) -> str:
    """The text from where its last line's first mark begins: what is before it ends something else."""
    line = text[text.rfind("\n") + 1 :]
    return line[max(line.find("<"), 0) :]


def _form(prefix: str, between: str, suffix: str, middle: str, parameters: Parameters | None) -> Form:
    """`middle`: what stands between two calls."""
    head = _HEAD_OF_OBJECT.search(prefix)
    is_in_blocks = middle.startswith(suffix) and middle.endswith(prefix) and len(middle) >= len(suffix) + len(prefix)
    if is_in_blocks and not (head and head[0] == prefix):
        before = head[0] if head else ""
        after = "}" if head else ""
        return Form(
            "found",
            prefix.removesuffix(before),
            before,
            between,
            after,
            suffix.removeprefix(after),
            next_block=middle[len(suffix) : len(middle) - len(prefix)],
            parameters=parameters,
        )
    before = _common_end(prefix, middle)
    after = _common_start(suffix, middle[: len(middle) - len(before)])
    if head:
        before, after = head[0], "}"
    separator = middle[len(after) : len(middle) - len(before)]
    return Form(
        "found",
        prefix.removesuffix(before),
        before,
        between,
        after,
        suffix.removeprefix(after),
        separator,
        parameters=parameters,
    )


def _common_start(one: str, other: str) -> str:
    length = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:length]


def _common_end(one: str, other: str) -> str:
    return _common_start(one[::-1], other[::-1])[::-1]

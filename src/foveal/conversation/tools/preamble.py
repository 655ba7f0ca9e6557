"""Tools for templates that have no place for them: in words of the system message, with calls and results as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import msgspec

from foveal.conversation.tools.form import Form
from foveal.types import ImageRef, Message, Tool, ToolCall

_HEAD = "You can call functions. Each line describes one, with the JSON schema of its arguments:"
_TAIL = "To call a function, write its name and its arguments like this, and nothing behind it:"
_RESULT = "<tool_response>\n", "\n</tool_response>"

Part = str | ImageRef


def in_words(messages: Sequence[Message], tools: Sequence[Tool], form: Form, *, has_system: bool) -> list[Message]:
    """The conversation with messages of system, user and assistant alone.

    `has_system`: the template knows system messages; otherwise the first message of the user begins with the tools.
    """
    plain = [_in_words(message, form) for message in messages]
    joined = [_joined([*group]) for _, group in groupby(plain, key=_together)]
    made = [message for group in joined for message in group]
    return _introduced(made, preamble(tools, form), has_system=has_system) if tools else made


def preamble(tools: Sequence[Tool], form: Form) -> str:
    """What the model is told of its tools."""
    example = Tool("NAME")
    return "\n".join([_HEAD, *map(_described, tools), _TAIL, written_call(example.name, "{...}", form)])


def written_call(name: str, arguments: str, form: Form) -> str:
    """A call in a form with JSON arguments."""
    return f"{form.begin}{form.before}{name}{form.between}{arguments}{form.after}{form.end}"


def images_behind_results(messages: Sequence[Message]) -> list[Message]:
    """The conversation with the images of results in a message of the user behind them."""
    made: list[Message] = []
    for is_result, group in groupby(messages, key=lambda message: message.role == "tool"):
        results = [*group]
        made += [replace(m, content=_texts(m.content)) for m in results] if is_result else results
        images = tuple(part for m in results for part in m.content if isinstance(part, ImageRef)) if is_result else ()
        if images:
            made.append(Message("user", images))
    return made


def _described(tool: Tool) -> str:
    described = {"description": tool.description} if tool.description else {}
    entry = {"name": tool.name, **described, "parameters": msgspec.json.decode(tool.parameters)}
    return json.dumps(entry, ensure_ascii=False)


def _in_words(message: Message, form: Form) -> Message:
    if message.role == "tool":
        start, end = _RESULT
        return Message("user", (start, *message.content, end))
    if not message.tool_calls:
        return replace(message, reasoning="")
    calls = [written_call(call.name, _compact(call), form) for call in message.tool_calls]
    said = [part for part in message.content if part]
    return Message("assistant", (*said, *(["\n"] if said else []), "\n".join(calls)))


def _compact(call: ToolCall) -> str:
    """The arguments as the grammar of calls writes them."""
    try:
        return json.dumps(json.loads(call.arguments), ensure_ascii=False)
    except ValueError:
        return call.arguments


def _together(message: Message) -> bool:
    """Results and what the user says to them are one turn, since roles have to alternate in many formats."""
    return message.role == "user"


def _joined(group: Sequence[Message]) -> Iterator[Message]:
    if group[0].role != "user" or not any(_is_result(message) for message in group):
        yield from group
        return
    content = list[Part]()
    for message in group:
        content += ["\n"] * bool(content) + [*message.content]
    yield Message("user", tuple(content))


def _is_result(message: Message) -> bool:
    return message.content[:1] == _RESULT[:1]


def _introduced(messages: Sequence[Message], words: str, *, has_system: bool) -> list[Message]:
    first, *rest = messages
    if first.role == "system":
        return [replace(first, content=(*first.content, f"\n\n{words}")), *rest]
    if has_system:
        return [Message("system", (words,)), *messages]
    return [replace(first, content=(f"{words}\n\n", *first.content)), *rest]


def _texts(content: Sequence[Part]) -> tuple[Part, ...]:
    texts = tuple(part for part in content if isinstance(part, str))
    return texts or ("The result is the image that follows.",)

"""Reads calls in what a model writes, as it comes.

The text before a call, and text that only looks like one, comes out as text. A call comes out from where its name is
known. It is the name of a tool that the client has, or else it is no call. Knows nothing of tokens.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Generator, Mapping, Sequence

from foveal.conversation.tools.form import Form
from foveal.conversation.tools.reader import SPACE, Cut, NoCall, Reader, Steps, Waiting, overlap
from foveal.conversation.tools.rules import schema_of, types_of
from foveal.types import Tool, ToolCallDelta

Said = str | ToolCallDelta
_NAME_KEYS = ("name", "function", "tool_name")
_ARGUMENT_KEYS = ("arguments", "parameters", "args")
_MORE = ",;"


class CallParser:
    """The texts and calls of one answer. Push its text in parts; each push returns what has become certain."""

    def __init__(self, form: Form, tools: Sequence[Tool]) -> None:
        self._form = form
        self._tools: Mapping[str, Tool] = {tool.name: tool for tool in tools}
        self._reader = Reader()
        self._said: list[Said] = []
        self._num_calls = 0
        self._is_in_call = False  # its name has come out
        self._blank = ""  # white space that may be the text's end, which is not shown before a call
        self._steps = self._answer()
        self._is_at_start = True

    def push(self, text: str, *, is_last: bool = False) -> list[Said]:
        self._reader.feed(text)
        self._reader.is_over = is_last
        with contextlib.suppress(StopIteration):
            next(self._steps)
        said, self._said = self._said, []
        return said

    # --- the whole answer ---------------------------------------------------------------------------------------------

    def _answer(self) -> Steps:
        while True:
            yield from self._text_before_call()
            if self._reader.is_over and not self._reader.unread:
                self._give_text(self._blank, is_end=True)
                return
            num_calls = self._num_calls
            try:
                yield from self._block()
                self._reader.keep()
            except (Cut, NoCall):
                is_lost = self._is_in_call or (self._num_calls > num_calls and not self._reader.unread)
                self._is_in_call = False
                if not is_lost:
                    self._reader.put_back()
                    self._give_text(self._reader.take(max(len(self._form.mark), 1)))
                self._is_at_start = False

    def _text_before_call(self) -> Steps:
        """Gives text until a call may begin, which is kept, or until the end."""
        reader, mark = self._reader, self._form.mark
        while True:
            reader.keep()
            unread = reader.unread
            if not mark and self._is_at_start and unread.lstrip(SPACE):
                return
            if mark and mark in unread:
                self._give_text(reader.take(unread.index(mark)))
                reader.keep()
                return
            held = overlap(unread, mark) if mark and not reader.is_over else 0
            if mark or not self._is_at_start or reader.is_over:
                self._give_text(reader.take(len(unread) - held))
            if reader.is_over:
                reader.keep()
                return
            yield

    def _give_text(self, text: str, *, is_end: bool = False) -> None:
        """White space at the end of a text waits for what follows it: before a call it is not shown."""
        text = text if is_end else self._blank + text
        shown = text if is_end else text.rstrip(SPACE)
        self._blank = "" if is_end else text[len(shown) :]
        if shown and not (is_end and self._num_calls):
            self._said.append(shown)
            self._is_at_start = False

    # --- calls --------------------------------------------------------------------------------------------------------

    def _block(self) -> Steps:
        """One block of calls. Raises NoCall, or Cut at the end of the answer."""
        reader, form = self._reader, self._form
        if form.is_object:
            yield from reader.word(form.mark)
            is_list = yield from reader.is_next("[")
            yield from self._objects(is_list)
        else:
            yield from reader.word(form.begin)
            yield from self._call()
            while form.separator is not None and (yield from self._goes_on(form.separator)):
                yield from self._call()
        end = form.end.strip("] \n") if form.is_object else form.end
        if not (yield from reader.is_next(end)) and reader.is_over and end.strip().startswith(reader.unread.strip()):
            reader.take_all()  # the answer was cut inside the mark

    def _goes_on(self, separator: str) -> Generator[None, None, bool]:
        if separator.strip():
            return (yield from self._reader.is_next(separator))
        found = yield from self._reader.is_next(self._form.end)
        return not found

    def _objects(self, is_list: bool) -> Steps:
        reader = self._reader
        while True:
            yield from self._object()
            reader.keep()
            try:
                yield from reader.space()
                character = yield from reader.peek()
            except Cut:
                return
            if character in _MORE:
                yield from reader.next()
                continue
            if is_list and character == "]":
                yield from reader.next()
            return

    def _object(self) -> Steps:
        """A call that is a JSON object. Arguments that come before the name wait for it."""
        reader, early, is_begun = self._reader, list[str](), False
        yield from reader.word("{")
        while True:
            key = yield from reader.json_text()
            yield from reader.word(":")
            if key in _NAME_KEYS and not is_begun:
                self._begin((yield from reader.json_text()))
                is_begun = True
                self._arguments("".join(early))
            elif key in _ARGUMENT_KEYS:
                yield from self._json_arguments(self._arguments if is_begun else early.append)
            else:
                yield from reader.json_value(lambda _: None)
            if (yield from reader.word(",", "}")) == "}":
                break
        if not is_begun:
            raise NoCall
        self._end()

    def _json_arguments(self, give: Callable[[str], None]) -> Steps:
        """The arguments as they are written; where they are a text, what is in it."""
        yield from self._reader.space()
        if (yield from self._reader.peek()) == '"':
            give((yield from self._reader.json_text()))
        else:
            yield from self._reader.json_value(give)

    def _call(self) -> Steps:
        """A call whose name stands between the texts of the form."""
        reader, form = self._reader, self._form
        yield from reader.word(form.before)
        name = yield from self._tool_name(form.between.strip() or "{")
        self._begin(name)
        if form.parameters is None:
            yield from reader.json_value(self._arguments)
        else:
            yield from self._parameters(self._tools[name])
        if form.after.strip():
            yield from reader.is_next(form.after)
        self._end()

    def _tool_name(self, end: str) -> Waiting:
        """The name of a tool, and what ends it. Raises NoCall as soon as it is the name of none."""
        reader = self._reader
        while (position := reader.unread.find(end)) < 0:
            found = reader.unread.strip()
            if reader.is_over:
                raise Cut
            if not any(name.startswith(found) or found.startswith(name) for name in self._tools):
                raise NoCall
            yield
        name = reader.take(position).strip()
        reader.take(len(end))
        return name

    def _parameters(self, tool: Tool) -> Steps:
        form = self._form.parameters
        assert form is not None
        reader, schema, is_first = self._reader, schema_of(tool), True
        self._arguments("{")
        while not (yield from reader.is_ahead(self._form.after.strip() or self._form.end)):
            if not is_first and form.separator.strip():
                yield from reader.word(form.separator)
            yield from reader.word(form.before)
            parts: list[str] = []
            yield from reader.until([form.middle.strip()], parts.append)
            name = "".join(parts).strip()
            self._arguments(("" if is_first else ", ") + json.dumps(name, ensure_ascii=False) + ": ")
            is_first = False
            if form.quote:
                yield from reader.written_value(form.quote, self._arguments)
                yield from reader.is_next(form.after)
            else:
                yield from self._bare_value(types_of(schema.get("properties", {}).get(name, {}), schema))
        self._arguments("}")

    def _bare_value(self, types: set[str]) -> Steps:
        """A value without quotes: a text, unless the schema wants something else and it is that."""
        form, give = self._form.parameters, self._arguments
        assert form is not None
        reader, core = self._reader, form.after.strip()
        leading = form.middle[len(form.middle.rstrip("\n")) :]
        ends = [f"\n{core}", core] if form.after.startswith("\n") else [core]
        if leading and (yield from reader.peek()) == "\n":
            yield from reader.next()
        if types == {"string"}:
            give('"')
            yield from reader.until(ends, lambda text: give(json.dumps(text, ensure_ascii=False)[1:-1]))
            give('"')
            return
        found: list[str] = []
        yield from reader.until(ends, found.append)
        give(_as_json("".join(found), "string" in types))

    # --- what comes out -----------------------------------------------------------------------------------------------

    def _begin(self, name: str) -> None:
        """Raises NoCall where the client has no such tool."""
        if name not in self._tools:
            raise NoCall
        self._blank = ""
        self._is_in_call = True
        self._said.append(ToolCallDelta(self._num_calls, f"call_{secrets.token_hex(12)}", name))
        self._num_calls += 1
        self._reader.keep()

    def _arguments(self, text: str) -> None:
        last = self._said[-1] if self._said else None
        index = self._num_calls - 1
        if not text:
            return
        if isinstance(last, ToolCallDelta) and last.index == index and not last.is_last:
            self._said[-1] = ToolCallDelta(index, last.id, last.name, last.arguments + text)
        else:
            self._said.append(ToolCallDelta(index, arguments=text))

    def _end(self) -> None:
        last, index = self._said[-1] if self._said else None, self._num_calls - 1
        if isinstance(last, ToolCallDelta) and last.index == index:
            self._said[-1] = ToolCallDelta(index, last.id, last.name, last.arguments, is_last=True)
        else:
            self._said.append(ToolCallDelta(index, is_last=True))
        self._is_in_call = False
        self._reader.keep()


def _as_json(text: str, may_be_text: bool) -> str:
    """A value of a schema that is not for texts alone."""
    try:
        value = json.loads(text.strip())
    except ValueError:
        words = {"True": "true", "False": "false", "None": "null"}
        return words.get(text.strip(), json.dumps(text, ensure_ascii=False))
    if may_be_text and isinstance(value, str | float | int) and not isinstance(value, bool):
        return json.dumps(text, ensure_ascii=False)
    return text.strip()

"""What an answer says, in parts: reasoning, text and calls, from the model's text as it comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from foveal.conversation.reasoning import Marks
from foveal.conversation.stops import StopStrings
from foveal.conversation.tools.form import Form
from foveal.conversation.tools.parse import CallParser
from foveal.conversation.tools.reader import SPACE, overlap
from foveal.types import Tool, ToolCallDelta


@dataclass(slots=True)
class Said:
    """A part of an answer. Reasoning comes before text, and text before calls."""

    reasoning: str = ""
    text: str = ""
    calls: tuple[ToolCallDelta, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.reasoning or self.text or self.calls)


@dataclass(frozen=True, slots=True)
class Reading:
    """How the answers to one request are read."""

    marks: Marks | None = None
    is_open: bool = False  # the prompt ends inside reasoning
    form: Form | None = None
    tools: tuple[Tool, ...] = ()  # that may be called
    shown: frozenset[int] = frozenset()  # special tokens that are marks of these, so that they belong to the text

    @property
    def has_calls(self) -> bool:
        """Whether there may be any."""
        return self.form is not None and bool(self.tools)

    def parser(self, stop: Sequence[str] = ()) -> AnswerParser:
        """For one choice. `stop`: texts that end it where they stand in reasoning or text, but not in a call."""
        return AnswerParser(self, stop)


class AnswerParser:
    """The parts of one answer. Push its text in parts, and with the last one `is_last`."""

    def __init__(self, reading: Reading, stop: Sequence[str] = ()) -> None:
        self.has_calls = False  # so far
        self._in_reasoning, self._in_text = StopStrings(stop), StopStrings(stop)
        self._marks = reading.marks
        self._calls = CallParser(reading.form, reading.tools) if reading.form and reading.has_calls else None
        self._stage = "reasoning" if reading.is_open else "start" if reading.marks else "answer"
        self._held = ""
        self._is_blank = True  # no reasoning, and then no text, has come out yet

    @property
    def is_reasoning(self) -> bool:
        return self._stage == "reasoning"

    @property
    def stop(self) -> str | None:
        """The stop string that has ended the answer."""
        return self._in_reasoning.found or self._in_text.found

    def push(self, text: str, *, is_last: bool = False) -> list[Said]:
        """What has become certain, in order."""
        self._held += text
        return list(self._before_stop(_packed(self._parts(is_last)), is_last))

    def _before_stop(self, parts: Sequence[Said], is_last: bool) -> Iterator[Said]:
        """The parts up to the first stop string. What may begin one is held back, until something else follows it."""
        for part in [*parts, Said()] if is_last else parts:
            kept = Said(self._in_reasoning.push(part.reasoning))
            if self.stop is None:
                if part.text or part.calls or is_last:
                    kept.reasoning += self._in_reasoning.flush()
                kept.text = self._in_text.push(part.text)
            if self.stop is None:
                if part.calls or is_last:
                    kept.text += self._in_text.flush()
                kept.calls = part.calls
                self.has_calls = self.has_calls or bool(part.calls)
            if not kept.is_empty:
                yield kept
            if self.stop is not None:
                return

    def _parts(self, is_last: bool) -> Iterator[Said]:
        if self._stage == "start":
            self._start(is_last)
        if self._stage == "reasoning":
            yield Said(reasoning=self._reasoning(is_last))
        if self._stage == "answer":
            yield from self._answer(is_last)

    def _start(self, is_last: bool) -> None:
        """Whether the answer begins with reasoning."""
        assert self._marks is not None
        text, mark = self._held.lstrip(SPACE), self._marks.open
        if text.startswith(mark):
            self._held = text[len(mark) :]
            self._stage = "reasoning"
        elif is_last or not mark.startswith(text):
            self._stage = "answer"
            self._is_blank = False  # white space at its start is its own

    def _reasoning(self, is_last: bool) -> str:
        """The reasoning that is certain, without the white space around all of it."""
        assert self._marks is not None
        text, mark = self._held, self._marks.close
        if self._is_blank:
            text = text.lstrip(SPACE)
        before, found, after = text.partition(mark)
        if found:
            self._held, self._stage, self._is_blank = after, "answer", True
            return before.rstrip(SPACE)
        certain = text[: len(text) - (0 if is_last else overlap(text, mark))].rstrip(SPACE)
        self._held = "" if is_last else text[len(certain) :]
        self._is_blank = self._is_blank and not certain
        return certain

    def _answer(self, is_last: bool) -> Iterator[Said]:
        text, self._held = self._held, ""
        if self._is_blank:
            text = text.lstrip(SPACE)
            self._is_blank = not text
        if self._calls is None:
            yield Said(text=text)
            return
        for part in self._calls.push(text, is_last=is_last):
            yield Said(text=part) if isinstance(part, str) else Said(calls=(part,))


def _packed(parts: Iterator[Said]) -> list[Said]:
    """As few parts as their order allows."""
    packed: list[Said] = []
    for part in parts:
        if part.is_empty:
            continue
        last = packed[-1] if packed else None
        if last is None or (part.reasoning and (last.text or last.calls)) or (part.text and last.calls):
            packed.append(part)
        else:
            last.reasoning += part.reasoning
            last.text += part.text
            last.calls += part.calls
    return packed

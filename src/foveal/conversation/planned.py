"""What a request may be answered with, and how the answer is read: its grammar and its `Reading`."""

from __future__ import annotations

from dataclasses import dataclass

from foveal.conversation.reasoning import Marks, is_closed, is_open
from foveal.conversation.said import Reading
from foveal.conversation.tokenizer import Tokenizer
from foveal.conversation.tools.constraint import Calls, Thinking, grammar_of
from foveal.conversation.tools.form import Form
from foveal.types import ChatRequest, Grammar, Tool


@dataclass(frozen=True, slots=True)
class Plan:
    """The grammar that an answer must follow, if any, and how it is read; None: all of it is text."""

    grammar: Grammar | None = None
    reading: Reading | None = None


def planned(request: ChatRequest, prompt_end: str, form: Form, marks: Marks | None, tokenizer: Tokenizer) -> Plan:
    """`prompt_end`: the markup behind the last message, where a template may open or close reasoning."""
    tools = callable_tools(request)
    calls = Calls(form, tools, request.tool_choice) if tools else None
    thinking, is_opened = None, marks is not None and is_open(prompt_end, marks)
    if marks is not None and not is_closed(prompt_end, marks):
        thinking = Thinking(marks, is_opened, request.reasoning.max_tokens)
    if calls is None and marks is None:
        return Plan(request.options.grammar)
    grammar = grammar_of(thinking, calls, request.options.grammar, tokenizer.literal)
    shown = _marks_of(form if calls else None, marks, tokenizer)
    return Plan(grammar, Reading(marks if thinking else None, is_opened, form if calls else None, tools, shown))


def callable_tools(request: ChatRequest) -> tuple[Tool, ...]:
    """The tools that this answer may call."""
    choice = request.tool_choice
    if choice.mode == "none":
        return ()
    return tuple(tool for tool in request.tools if not choice.names or tool.name in choice.names)


def _marks_of(form: Form | None, marks: Marks | None, tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens that are part of a form's texts or of the marks of reasoning."""
    texts = [marks.open, marks.close] if marks else []
    if form:
        texts += [form.begin, form.before, form.between, form.after, form.end, form.separator or "", form.next_block]
        if written := form.parameters:
            texts += [written.before, written.middle, written.after, written.separator, written.quote]
    return frozenset(piece for text in texts for piece in tokenizer.literal(text) if isinstance(piece, int))

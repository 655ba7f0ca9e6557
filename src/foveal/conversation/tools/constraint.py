"""The grammar of a whole answer: reasoning, then text or calls, or what response_format asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from foveal.conversation.reasoning import Marks
from foveal.conversation.tools.form import Form
from foveal.conversation.tools.lark import ANY_TEXT, Lark, Literal, any_of, quoted
from foveal.conversation.tools.rules import Offered, blocks, offered
from foveal.types import Grammar, Tool, ToolChoice

SPACE = r"/[ \n\t]{0,4}/"


@dataclass(frozen=True, slots=True)
class Thinking:
    """The reasoning that an answer may begin with."""

    marks: Marks
    is_open: bool  # the prompt has its first mark
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls that an answer may have."""

    form: Form
    tools: tuple[Tool, ...]  # that may be called
    choice: ToolChoice


def grammar_of(
    thinking: Thinking | None, calls: Calls | None, response: Grammar | None, literal: Literal
) -> Grammar | None:
    """The grammar of an answer; None where anything goes."""
    is_bounded = thinking is not None and thinking.max_tokens is not None
    if calls is None and (thinking is None or not (is_bounded or response)):
        return response
    lark = Lark(literal)
    answer = lark.rule(_answer(calls, response, lark))
    lark.rule(f"{_reasoning(thinking, lark)} {answer}", "start")
    source = response.source if response else "The schemas of these tools" if calls else "The limit on reasoning"
    return lark.grammar(source)


def _answer(calls: Calls | None, response: Grammar | None, lark: Lark) -> str:
    content = lark.part(response) if response else lark.rule(ANY_TEXT)
    if calls is None:
        return content
    form, parallel = calls.form, calls.choice.parallel
    tools = offered(form, calls.tools, lark)
    if calls.choice.mode == "required":
        return blocks(form, tools, lark, after_mark=False, parallel=parallel)
    if response:
        return any_of([content, blocks(form, tools, lark, after_mark=False, parallel=parallel)])
    if not form.mark:
        return any_of([_text_unlike(form, tools, lark), blocks(form, tools, lark, after_mark=False, parallel=parallel)])
    later = blocks(form, tools, lark, after_mark=True, parallel=parallel)
    heads = [f"{lark.rule(f'{ANY_TEXT} {lark.text(form.mark)}')} {later}"] if lark.has_token(form.mark) else []
    spelled = lark.rule(f"{ANY_TEXT} {quoted(form.mark)}", attributes="[lazy]")
    return any_of([content, *heads, f"{spelled} {later}"])


def _text_unlike(form: Form, tools: Sequence[Offered], lark: Lark) -> str:
    """A text that does not begin as a call does."""
    starts = [form.begin.lstrip() + form.before + tool.name + form.between for tool in tools]
    return lark.rule(f"{ANY_TEXT} & ~/({'|'.join(map(_escaped, starts))})(.|\\n)*/", "UNLIKE")


def _escaped(text: str) -> str:
    return re.escape(text).replace("/", "\\/").replace("\n", "\\n")


def _reasoning(thinking: Thinking | None, lark: Lark) -> str:
    if thinking is None:
        return ""
    marks, limit = thinking.marks, thinking.max_tokens
    bound = f"[max_tokens={max(limit, 1)}]" if limit is not None else ""
    rest = f"{lark.text_until(marks.close, attributes=bound)} {SPACE}"
    if thinking.is_open:
        return rest
    return lark.rule(f'{SPACE} {lark.text(marks.open)} {rest} | ""')

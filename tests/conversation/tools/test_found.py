"""tools/found.py: the form of calls, found in what a template writes. The templates are short, in published styles."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from foveal.conversation.config import ConversationConfig
from foveal.conversation.template import Template
from foveal.conversation.tools.form import FORMS, Form
from foveal.conversation.tools.parse import CallParser
from foveal.conversation.tools.writing import ToolWriting
from foveal.types import ChatRequest, Message, ToolCall, ToolCallDelta
from tests.conversation.tools.texts import NOW, TOOLS, WEATHER

HEAD = "{% if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}{% for m in messages %}"
TAIL = "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}"
CALLS = "{% for c in m.tool_calls %}{% set c = c.function %}"
END = "{% endfor %}<|im_end|>\n"

HERMES = (
    TURN + CALLS + '{% if m.content or not loop.first %}{{ "\\n" }}{% endif %}<tool_call>\n{"name": "{{ c.name }}", '
    '"arguments": {{ c.arguments | tojson }}}\n</tool_call>' + END
)
LLAMA = (
    TURN
    + CALLS
    + '{"name": "{{ c.name }}", "parameters": {{ c.arguments | tojson }}}'
    + "{{ '; ' if not loop.last }}"
    + END
)
MISTRAL = (
    "{% if m.tool_calls %}[TOOL_CALLS] [" + CALLS + '{% set out = c | tojson %}{{ out[:-1] }}, "id": "{{ '
    "m.tool_calls[loop.index0].id }}\"}{{ ', ' if not loop.last }}{% endfor %}]</s>"
    "{% else %}{{ m.content }}</s>{% endif %}"
)
NAMED = TURN + CALLS + "[TOOL_CALLS]{{ c.name }}[ARGS]{{ c.arguments | tojson }}" + END
PHI = TURN + CALLS + "{{ '<|tool_call|>' + (c | tojson) + '<|/tool_call|>' }}" + END
XML = (
    TURN
    + CALLS
    + "{{ '\\n' if not loop.first }}<tool_call>\n<function={{ c.name }}>\n{% for k, v in c.arguments | items %}"
    "<parameter={{ k }}>\n{{ v if v is string else v | tojson }}\n</parameter>\n{% endfor %}</function>\n</tool_call>"
    + END
)
GEMMA = (
    TURN + CALLS + '<|tool_call>call:{{ c.name }}{{ "{" }}{% for k, v in c.arguments | dictsort %}{{ k }}:{% if v is '
    'string %}<|"|>{{ v }}<|"|>{% else %}{{ v | tojson }}{% endif %}{{ "," if not loop.last }}{% endfor %}'
    '{{ "}" }}<tool_call|>' + END
)
PYTHON = (
    TURN + "{% if m.tool_calls %}[" + CALLS + "{{ c.name }}({% for k, v in c.arguments | items %}{{ k }}={{ v | tojson "
    "}}{{ ', ' if not loop.last }}{% endfor %}){{ ', ' if not loop.last }}{% endfor %}]{% endif %}<|im_end|>\n"
)
AS_TEXT = TURN + CALLS + "{{ '<call>' + c.name + '\\n```json\\n' + c.arguments + '\\n```</call>' }}" + END


def writing(template: str) -> tuple[ToolWriting, Template]:
    config = ConversationConfig("t", HEAD + template + TAIL, published=True)
    made = Template(config)
    return ToolWriting(config, made), made


def known(name: str, **changes: Any) -> Form:
    return replace(FORMS[name], name="found", **changes)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (HERMES, known("hermes")),
        (LLAMA, known("llama")),
        (NAMED, known("mistral-named")),
        (PHI, known("phi4", begin="<|tool_call|>", end="<|/tool_call|>", separator=None, next_block="")),
        (XML, known("xml", begin="<tool_call>\n<function=", before="", after="", end="</function>\n</tool_call>")),
        (GEMMA, known("gemma4", after="", end="}<tool_call|>")),
        (PYTHON, known("pythonic")),
        (AS_TEXT, Form("found", "<call>", "", "\n```json\n", "", "\n```</call>", next_block="")),
    ],
    ids=["hermes", "llama", "named", "phi", "xml", "gemma", "python", "as_text"],
)
def test_the_form_is_what_the_template_writes(template: str, expected: Form) -> None:
    found, _ = writing(template)

    assert found.is_native
    assert found.form == expected


def test_an_id_that_a_template_adds_is_no_part_of_the_form() -> None:
    found, _ = writing(MISTRAL)

    assert found.form == known("mistral")


def test_a_template_that_shows_no_tools_is_told_of_them_in_words() -> None:
    config = ConversationConfig("t", "{% for m in messages %}" + HERMES + TAIL, published=True)
    found = ToolWriting(config, Template(config))

    assert not found.is_native
    request = found.adapted(ChatRequest((Message("user", ("Q",)),), tools=TOOLS))
    assert [message.role for message in request.messages] == ["system", "user"]
    (words,) = request.messages[0].content
    assert isinstance(words, str)
    assert WEATHER.parameters in words
    assert "<tool_call>" in words


def test_ids_are_made_short_for_templates_that_insist() -> None:
    insisting = "{% if m.tool_call_id and m.tool_call_id | length != 9 %}{{ raise_exception('nine') }}{% endif %}"
    found, template = writing(insisting + HERMES)
    call = ToolCall("call_0123456789abcdef", "now", "{}")
    messages = (
        Message("user", ("Q",)),
        Message("assistant", (), tool_calls=(call,)),
        Message("tool", ("12",), tool_call_id=call.id),
    )

    assert found.is_native
    assert template.written(messages, (NOW,)) is not None


@pytest.mark.parametrize(
    "template",
    [HERMES, LLAMA, MISTRAL, NAMED, PHI, XML, GEMMA, PYTHON, AS_TEXT],
    ids=["hermes", "llama", "mistral", "named", "phi", "xml", "gemma", "python", "as_text"],
)
def test_what_the_template_writes_of_past_calls_is_read(template: str) -> None:
    found, made = writing(template)
    arguments = {"city": 'Paris, "{x}"\n</b>', "days": 3}
    calls = (ToolCall("a1b2c3d4e", "get_weather", json.dumps(arguments)), ToolCall("a1b2c3d4f", "now", "{}"))
    end = "</s>" if template is MISTRAL else "<|im_end|>"

    written = made.written((Message("user", ("Q",)), Message("assistant", (), tool_calls=calls)), TOOLS)

    assert written is not None
    turn = written.rpartition(end)[0].rpartition("<|im_start|>assistant\n" if end != "</s>" else "</s>")[2]
    said = CallParser(found.form, TOOLS).push(turn, is_last=True)
    parts = [part for part in said if isinstance(part, ToolCallDelta)]
    assert [(part.name, json.loads(part.arguments)) for part in parts] == [("get_weather", arguments), ("now", {})]
    assert len(parts) == len(said)

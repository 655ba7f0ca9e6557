"""How a checkpoint writes calls of tools, as data: the texts around names and arguments.

    begin [before NAME between ARGUMENTS after] separator [...] end

Arguments are a JSON object, or stand one by one, each with its name (`Parameters`). Known forms have names, so that an
operator can choose one; others are found in what a checkpoint's template writes (found.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from foveal.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Parameters:
    """Arguments that are written one by one: before NAME middle VALUE after."""

    before: str
    middle: str
    after: str
    separator: str = ""
    quote: str = ""  # around a text; "": texts are bare, and other values are JSON
    true: str = "true"
    false: str = "false"
    null: str = "null"

    @property
    def escapes(self) -> bool:
        """Whether a text is written as in JSON, and so are the names within objects."""
        return self.quote == '"'


@dataclass(frozen=True, slots=True)
class Form:
    """The texts of one form. White space in them may differ in what a model writes."""

    name: str
    begin: str
    before: str
    between: str
    after: str
    end: str
    separator: str | None = None  # between calls of one block; None: each call has a block of its own
    next_block: str = "\n"
    parameters: Parameters | None = None

    @property
    def mark(self) -> str:
        """What tells a call wherever it stands. "": only an answer that begins with a call has calls."""
        first = (self.begin.split() or [""])[0].rstrip("[{(")
        return first if re.search(r"\w{3}", first) else ""

    @property
    def is_object(self) -> bool:
        """Whether a call is a JSON object with the name and the arguments in it."""
        return self.before.lstrip().startswith("{")


_OBJECT = '{"name": "', '", "arguments": ', "}"
HERMES = Form("hermes", "<tool_call>\n", *_OBJECT, "\n</tool_call>")
PYTHON = Parameters("", "=", "", ", ", '"', "True", "False", "None")
FORMS = {
    form.name: form
    for form in (
        HERMES,
        Form("llama", "", '{"name": "', '", "parameters": ', "}", "", "; "),
        Form("mistral", "[TOOL_CALLS] [", *_OBJECT, "]", ", "),
        Form("mistral-named", "[TOOL_CALLS]", "", "[ARGS]", "", "", next_block=""),
        Form("phi4", "<|tool_call|>[", *_OBJECT, "]<|/tool_call|>", ", "),
        Form("pythonic", "[", "", "(", ")", "]", ", ", parameters=PYTHON),
        Form("tool_code", "```tool_code\n", "", "(", ")", "\n```", "\n", parameters=PYTHON),
        Form(
            "xml",
            "<tool_call>\n",
            "<function=",
            ">\n",
            "</function>",
            "\n</tool_call>",
            parameters=Parameters("<parameter=", ">\n", "\n</parameter>\n"),
        ),
        Form(
            "gemma4",
            "<|tool_call>call:",
            "",
            "{",
            "}",
            "<tool_call|>",
            next_block="",
            parameters=Parameters("", ":", "", ",", '<|"|>'),
        ),
        Form(
            "function-gemma",
            "<start_function_call>call:",
            "",
            "{",
            "}",
            "<end_function_call>",
            next_block="",
            parameters=Parameters("", ":", "", ",", "<escape>"),
        ),
    )
}


def form_named(name: str) -> Form:
    """Raises ConfigError."""
    if name not in FORMS:
        raise ConfigError(f"There is no form of tool calls {name}: choose one of {', '.join(sorted(FORMS))}.")
    return FORMS[name]

"""The tools of a body as the model is offered them, and under which names the client knows them.

The model knows functions alone. A custom tool is one with a text as its only argument, and a namespace is a part of
names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic_core import from_json

from foveal.http.dialects.responses.tool_schemas import CustomTool, GrammarInput, NamespaceTools, ServerTool
from foveal.http.dialects.tools import check_tools, offered, without_the_servers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from foveal.http.dialects.responses.tool_schemas import AnyTool, FunctionTool
    from foveal.types import Tool

INPUT = "input"
TAKES_TEXT: dict[str, object] = {"type": "object", "properties": {INPUT: {"type": "string"}}, "required": [INPUT]}
NOT_ENFORCED = "The grammars of custom tools are shown to the model, and not enforced."


@dataclass(frozen=True, slots=True)
class Known:
    """How a client knows a tool."""

    name: str
    namespace: str | None = None
    is_custom: bool = False

    @property
    def model_name(self) -> str:
        return name_in(self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Offer:
    """The tools of one request, and what the client should know of them."""

    tools: tuple[Tool, ...] = ()
    warnings: tuple[str, ...] = ()


def offer(tools: Sequence[AnyTool]) -> Offer:
    """Raises InvalidRequest that names the field."""
    pairs = [*_each(tools)]
    of_client = tuple(_tool(known.model_name, spec) for known, spec in pairs)
    check_tools(of_client, "tools")
    warnings = without_the_servers([tool.type for tool in tools if isinstance(tool, ServerTool)], of_client, "tools")
    if any(isinstance(spec, CustomTool) and isinstance(spec.format, GrammarInput) for _, spec in pairs):
        warnings = (*warnings, NOT_ENFORCED)
    return Offer(of_client, warnings)


def known_tools(tools: Sequence[AnyTool]) -> dict[str, Known]:
    """By the name that the model knows."""
    return {known.model_name: known for known, _ in _each(tools)}


def name_in(namespace: str | None, name: str) -> str:
    return f"{namespace}.{name}" if namespace else name


def as_arguments(text: str) -> dict[str, object]:
    """The input of a custom tool as the model writes it."""
    return {INPUT: text}


def as_input(arguments: str) -> str:
    """The input of a custom tool from the arguments of its call, which may have been cut."""
    try:
        found = from_json(arguments, allow_partial="trailing-strings")
    except ValueError:
        return ""
    return str(found.get(INPUT, "")) if isinstance(found, dict) else ""


def _each(tools: Sequence[AnyTool]) -> Iterator[tuple[Known, FunctionTool | CustomTool]]:
    for tool in tools:
        if isinstance(tool, NamespaceTools):
            for inner in tool.tools:
                yield Known(inner.name, tool.name, isinstance(inner, CustomTool)), inner
        elif not isinstance(tool, ServerTool):
            yield Known(tool.name, None, isinstance(tool, CustomTool)), tool


def _tool(name: str, spec: FunctionTool | CustomTool) -> Tool:
    if not isinstance(spec, CustomTool):
        return offered(name, spec.description, spec.parameters, spec.strict, "tools")
    parts = [spec.description] if spec.description else []
    if isinstance(spec.format, GrammarInput):
        parts.append(f"The input follows this grammar ({spec.format.syntax}):\n{spec.format.definition}")
    return offered(name, "\n\n".join(parts), TAKES_TEXT, None, "tools")

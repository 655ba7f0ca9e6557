"""The fields for tools and reasoning that clients send, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from foveal.http.dialects.wire import MAX_INT, ToolName, WireModel, by_json_type

MAX_TOOLS = 512
MAX_CALLS = 128  # of one message


class FunctionSpec(WireModel):
    name: ToolName
    description: str | None = Field(None, description="Shown to the model.")
    parameters: dict[str, object] | None = Field(
        None, description="JSON schema of the arguments, an object. Absent: it takes none."
    )
    strict: bool | None = Field(None, description="true: refuse a schema that cannot be enforced in every point.")


class ToolSpec(WireModel):
    type: Literal["function"]
    function: FunctionSpec


class FunctionName(WireModel):
    name: ToolName


class NamedTool(WireModel):
    type: Literal["function"]
    function: FunctionName


class AllowedToolsSpec(WireModel):
    mode: Literal["auto", "required"]
    tools: list[NamedTool] = Field(min_length=1, max_length=MAX_TOOLS)


class AllowedTools(WireModel):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedToolsSpec


def _choice_type(value: object) -> str:
    if isinstance(value, str):
        return "<str>"
    kind = value.get("type") if isinstance(value, dict) else None
    return "<allowed_tools>" if kind == "allowed_tools" else "<function>"


ToolChoiceField = Annotated[
    Annotated[Literal["auto", "none", "required", "any"], Tag("<str>")]
    | Annotated[NamedTool, Tag("<function>")]
    | Annotated[AllowedTools, Tag("<allowed_tools>")],
    Discriminator(_choice_type),
]
FunctionChoiceField = Annotated[
    Annotated[Literal["auto", "none"], Tag("<str>")] | Annotated[FunctionName, Tag("<object>")],
    by_json_type("auto, none or an object with a name"),
]
Arguments = Annotated[
    Annotated[str, Tag("<str>")] | Annotated[dict[str, object], Tag("<object>")],
    by_json_type("JSON text, or an object"),
]


class CalledFunction(WireModel):
    name: ToolName
    arguments: Arguments = Field("{}", description="JSON text.")


class ToolCallPart(WireModel):
    id: str | None = Field(None, max_length=256)
    type: Literal["function"] | None = None
    index: int | None = Field(None, ge=0, le=MAX_INT, description="As streams write it; no effect.")
    function: CalledFunction


ToolCallParts = Annotated[list[ToolCallPart], Field(max_length=MAX_CALLS)]


class ThinkingSpec(WireModel):
    type: Literal["enabled", "disabled"]
    budget_tokens: int | None = Field(
        None, ge=1, le=MAX_INT, description="Tokens of reasoning; then the answer begins."
    )


class ReasoningSpec(WireModel):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    max_tokens: int | None = Field(None, ge=1, le=MAX_INT, description="Tokens of reasoning at most.")
    enabled: bool | None = None

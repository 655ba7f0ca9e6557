"""The tools of the Responses API that clients offer, and their choice among them, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Discriminator, Field, Tag

from foveal.http.dialects.wire import ToolName, WireModel, by_json_type, by_type, type_tag

MAX_TOOLS = 512
ALWAYS_SHOWN = "The model sees every tool from the start."
Id = Annotated[str, Field(max_length=256)]


class FunctionTool(WireModel):
    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, object] | None = None
    strict: bool | None = Field(None, description="true: refuse a schema that cannot be enforced in every point.")
    defer_loading: bool | None = Field(None, description=ALWAYS_SHOWN)


class TextInput(WireModel):
    type: Literal["text"]


class GrammarInput(WireModel):
    """The form of a custom tool's input. The model reads it; nothing enforces it."""

    type: Literal["grammar"]
    syntax: Literal["lark", "regex"]
    definition: str


class CustomTool(WireModel):
    """A tool that takes a text instead of JSON."""

    type: Literal["custom"]
    name: ToolName
    description: str | None = None
    format: (
        Annotated[
            Annotated[TextInput, Tag("<text>")] | Annotated[GrammarInput, Tag("<grammar>")], by_type("text", "grammar")
        ]
        | None
    ) = None
    defer_loading: bool | None = Field(None, description=ALWAYS_SHOWN)


ClientTool = Annotated[
    Annotated[FunctionTool, Tag("<function>")] | Annotated[CustomTool, Tag("<custom>")], by_type("function", "custom")
]


class NamespaceTools(WireModel):
    """Tools whose names are unique in a namespace."""

    type: Literal["namespace"]
    name: ToolName
    description: str | None = Field(None, description="Not shown to the model.")
    tools: list[ClientTool] = Field(max_length=MAX_TOOLS)


ServerKind = Literal[
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
    "image_generation",
    "tool_search",
]


class ServerTool(WireModel):
    """A tool that a server would run. This one runs none: it is left out, with a warning, if there are others."""

    model_config = ConfigDict(extra="allow")

    type: ServerKind


def _tool_type(value: object) -> str:
    tag = type_tag(value)
    return "<server>" if tag[1:-1] in get_args(ServerKind) else tag


AnyTool = Annotated[
    Annotated[FunctionTool, Tag("<function>")]
    | Annotated[CustomTool, Tag("<custom>")]
    | Annotated[NamespaceTools, Tag("<namespace>")]
    | Annotated[ServerTool, Tag("<server>")],
    Discriminator(
        _tool_type,
        custom_error_type="type",
        custom_error_message="There are no such tools here. Offer those that your client runs: "
        "a function, a custom tool or a namespace of them",
    ),
]


class ChosenTool(WireModel):
    type: Literal["function", "custom"]
    name: Id


class AllowedClientTools(WireModel):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[ChosenTool] = Field(min_length=1, max_length=MAX_TOOLS)


NamedChoice = Annotated[
    Annotated[ChosenTool, Tag("<function>")]
    | Annotated[ChosenTool, Tag("<custom>")]
    | Annotated[AllowedClientTools, Tag("<allowed_tools>")],
    by_type("function", "custom", "allowed_tools"),
]
ToolChoiceField = Annotated[
    Annotated[Literal["auto", "none", "required"], Tag("<str>")] | Annotated[NamedChoice, Tag("<object>")],
    by_json_type("auto, none, required or an object"),
]

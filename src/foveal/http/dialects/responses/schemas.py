"""The bodies of the Responses API, as pydantic models. parse.py says what they mean.

What clients send by default and asks for nothing is declared with the values that ask for nothing.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, RootModel, Tag

from foveal.http.dialects.responses.tool_schemas import MAX_TOOLS, AnyTool, Id, ToolChoiceField
from foveal.http.dialects.wire import (
    MAX_MESSAGES,
    PAGES,
    SOFT_TOKENS,
    Detail,
    MaxTokens,
    PageRange,
    UnitFloat,
    WireModel,
    by_json_type,
    by_type,
)

NOTE = "The client's own note; no effect on the answer."
ItemStatus = Literal["in_progress", "completed", "incomplete"]

# --- content ----------------------------------------------------------------------------------------------------------


class InputText(WireModel):
    type: Literal["input_text"]
    text: str


class InputImage(WireModel):
    type: Literal["input_image"]
    image_url: str = Field(description="http(s) URL, data URL or bare base64.")
    detail: Detail | Literal["original"] | None = Field(None, description="low: one crop; high, original: all of them.")
    max_soft_tokens: MaxTokens | None = Field(None, description=SOFT_TOKENS)


class InputFile(WireModel):
    """A PDF or a text, by one of two fields."""

    type: Literal["input_file"]
    file_data: str | None = Field(None, description="A data URL or bare base64.")
    file_url: str | None = None
    filename: str | None = Field(None, max_length=256, description="The model reads it before a text.")
    detail: Detail | None = None
    pages: PageRange | None = Field(None, description=PAGES)


class OutputText(WireModel):
    """Of an earlier answer."""

    type: Literal["output_text"]
    text: str
    annotations: list[dict[str, object]] | None = Field(None, description="Not shown to the model.")
    logprobs: list[dict[str, object]] | None = Field(None, description="Not shown to the model.")


class Refusal(WireModel):
    """Of an earlier answer."""

    type: Literal["refusal"]
    refusal: str


InputPart = Annotated[
    Annotated[InputText, Tag("<input_text>")]
    | Annotated[InputImage, Tag("<input_image>")]
    | Annotated[InputFile, Tag("<input_file>")],
    by_type("input_text", "input_image", "input_file"),
]
InputParts = Annotated[list[InputPart], Field(max_length=MAX_MESSAGES)]
MessagePart = Annotated[
    Annotated[InputText, Tag("<input_text>")]
    | Annotated[InputImage, Tag("<input_image>")]
    | Annotated[InputFile, Tag("<input_file>")]
    | Annotated[OutputText, Tag("<output_text>")]
    | Annotated[Refusal, Tag("<refusal>")],
    by_type("input_text", "input_image", "input_file", "output_text", "refusal"),
]
MessageParts = Annotated[list[MessagePart], Field(max_length=MAX_MESSAGES)]


# --- items ------------------------------------------------------------------------------------------------------------


class MessageItem(WireModel):
    type: Literal["message"] = "message"
    id: Id | None = None
    status: ItemStatus | None = None
    phase: Literal["commentary", "final_answer"] | None = None  # the client's own note
    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[
        Annotated[str, Tag("<str>")] | Annotated[MessageParts, Tag("<list>")], by_json_type("text or a list of parts")
    ]


class FunctionCallItem(WireModel):
    type: Literal["function_call"]
    id: Id | None = None
    status: ItemStatus | None = None
    call_id: Id
    name: Id
    namespace: Id | None = None
    arguments: str


class CustomCallItem(WireModel):
    type: Literal["custom_tool_call"]
    id: Id | None = None
    status: ItemStatus | None = None
    call_id: Id
    name: Id
    namespace: Id | None = None
    input: str


class CallOutputItem(WireModel):
    type: Literal["function_call_output", "custom_tool_call_output"]
    id: Id | None = None
    status: ItemStatus | None = None
    call_id: Id
    name: Id | None = Field(None, description="The call says which tool it was.")
    output: Annotated[
        Annotated[str, Tag("<str>")] | Annotated[InputParts, Tag("<list>")], by_json_type("text or a list of parts")
    ]


class SummaryText(WireModel):
    type: Literal["summary_text"]
    text: str


class ReasoningText(WireModel):
    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(WireModel):
    type: Literal["reasoning"]
    id: Id | None = None
    status: ItemStatus | None = None
    summary: list[SummaryText] = Field([], max_length=MAX_MESSAGES)
    content: list[ReasoningText] | None = Field(None, max_length=MAX_MESSAGES)
    encrypted_content: str | None = Field(None, description="Of another server, which alone can read it; left out.")


class ItemReference(WireModel):
    type: Literal["item_reference"] = "item_reference"
    id: Id = Field(description="Of an item of an earlier response that was kept.")


ITEM_TYPES = (
    "message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "reasoning",
    "item_reference",
)  # fmt: skip


def _item_type(value: object) -> str:
    """Messages and references may lack their type."""
    if not isinstance(value, dict):
        return "<none>"
    kind = value.get("type") or ("message" if "role" in value else "item_reference")
    return f"<{kind}>" if isinstance(kind, str) else "<none>"


Item = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[FunctionCallItem, Tag("<function_call>")]
    | Annotated[CallOutputItem, Tag("<function_call_output>")]
    | Annotated[CustomCallItem, Tag("<custom_tool_call>")]
    | Annotated[CallOutputItem, Tag("<custom_tool_call_output>")]
    | Annotated[ReasoningItem, Tag("<reasoning>")]
    | Annotated[ItemReference, Tag("<item_reference>")],
    Discriminator(
        _item_type,
        custom_error_type="type",
        custom_error_message=f"Input should be an item of the type {', '.join(ITEM_TYPES[:-1])} or {ITEM_TYPES[-1]}",
    ),
]


class Items(RootModel[list[Item]]):
    """What was kept of earlier responses."""


# --- settings ---------------------------------------------------------------------------------------------------------


class PlainFormat(WireModel):
    type: Literal["text"]


class ObjectFormat(WireModel):
    type: Literal["json_object"]


class SchemaFormat(WireModel):
    type: Literal["json_schema"]
    name: str | None = Field(None, max_length=256)
    schema_: dict[str, object] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = Field(None, description="Schemas are always kept to.")


class TextSettings(WireModel):
    format: (
        Annotated[
            Annotated[PlainFormat, Tag("<text>")]
            | Annotated[ObjectFormat, Tag("<json_object>")]
            | Annotated[SchemaFormat, Tag("<json_schema>")],
            by_type("text", "json_object", "json_schema"),
        ]
        | None
    ) = None
    verbosity: Literal["medium"] | None = Field(None, description="No model here has another one.")


class ReasoningSettings(WireModel):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = Field(
        None, description="none: no reasoning. minimal is low; past high is high."
    )
    summary: Literal["auto", "concise", "detailed"] | None = Field(
        None, description="Items of reasoning have their text as content, and no summary."
    )
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class ResponsesStreamOptions(WireModel):
    include_obfuscation: bool | None = Field(None, description="There is none.")


Include = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]


# --- the two bodies ---------------------------------------------------------------------------------------------------


class InputTokensBody(WireModel):
    """POST responses/input_tokens: what the same body would take."""

    model: str = Field(description="The model's id, one of its aliases, or accounts/<any>/models/<name>.")
    input: Annotated[
        Annotated[str, Tag("<str>")] | Annotated[list[Item], Field(max_length=MAX_MESSAGES), Tag("<list>")],
        by_json_type("text or a list of items"),
    ]
    instructions: str | None = Field(None, description="The system message. Those of an earlier response are not kept.")
    previous_response_id: Id | None = Field(None, description="The conversation that the input goes on with.")
    tools: list[AnyTool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: ToolChoiceField | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningSettings | None = None
    text: TextSettings | None = None
    truncation: Literal["auto", "disabled"] | None = Field(
        None, description="auto: the oldest turns are left out until the prompt fits."
    )


class ResponsesBody(InputTokensBody):
    """POST responses."""

    max_output_tokens: MaxTokens | None = Field(None, description="Default: what fits, up to the server's default.")
    temperature: float | None = Field(None, ge=0, le=2, description="0: greedy. Default: the checkpoint's.")
    top_p: UnitFloat | None = Field(None, description="Default: the checkpoint's.")
    top_logprobs: int | None = Field(None, ge=0, le=20)
    stream: bool | None = None
    stream_options: ResponsesStreamOptions | None = None
    store: bool | None = Field(None, description="Keep the response. Default: true where the server keeps any.")
    include: list[Include] | None = Field(None, max_length=MAX_TOOLS)
    background: Literal[False] | None = None
    max_tool_calls: MaxTokens | None = Field(None, description="Of tools that the server runs: there are none.")
    metadata: dict[str, str] | None = Field(None, max_length=16, description=NOTE)
    client_metadata: dict[str, str] | None = Field(None, max_length=16, description=NOTE)
    user: str | None = Field(None, max_length=1024, description=NOTE)
    safety_identifier: str | None = Field(None, max_length=1024, description=NOTE)
    prompt_cache_key: str | None = Field(None, max_length=1024, description="A routing hint; one engine needs none.")
    prompt_cache_retention: Literal["in_memory", "24h"] | None = Field(None, description="The most; less is kept.")
    service_tier: Literal["auto", "default"] | None = Field(None, description="There is one tier.")

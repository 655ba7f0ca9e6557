"""The bodies of the Messages API, as pydantic models. parse.py says what they mean.

What clients send by default and asks for nothing is declared with the values that ask for nothing.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from foveal.http.dialects.wire import (
    CACHED_ANYWAY,
    MAX_INT,
    MAX_MESSAGES,
    PAGES,
    CacheControl,
    MaxTokens,
    PageRange,
    Stop,
    ToolName,
    UnitFloat,
    WireModel,
    by_json_type,
    by_type,
    type_tag,
)

MAX_STOP_SEQUENCES = 16
MAX_TOOLS = 512
SERVER_KINDS = ("web_search", "web_fetch", "code_execution", "tool_search_tool")

Cached = Annotated[CacheControl | None, Field(description=CACHED_ANYWAY)]
NOTE = "The client's own note; no effect on the answer."

# --- content ----------------------------------------------------------------------------------------------------------


class TextBlock(WireModel):
    type: Literal["text"]
    text: str
    cache_control: Cached = None
    citations: list[dict[str, object]] | None = Field(None, description="Of an earlier answer; not shown to the model.")


class Base64Source(WireModel):
    type: Literal["base64"]
    media_type: str = Field(max_length=128, description="The content decides the format, not this.")
    data: str


class UrlSource(WireModel):
    type: Literal["url"]
    url: str


class ImageBlock(WireModel):
    type: Literal["image"]
    source: Annotated[
        Annotated[Base64Source, Tag("<base64>")] | Annotated[UrlSource, Tag("<url>")], by_type("base64", "url")
    ]
    cache_control: Cached = None


class PlainTextSource(WireModel):
    type: Literal["text"]
    media_type: Literal["text/plain"] | None = None
    data: str


InnerBlock = Annotated[
    Annotated[TextBlock, Tag("<text>")] | Annotated[ImageBlock, Tag("<image>")], by_type("text", "image")
]
InnerBlocks = Annotated[list[InnerBlock], Field(max_length=MAX_MESSAGES)]


class ContentSource(WireModel):
    type: Literal["content"]
    content: Annotated[
        Annotated[str, Tag("<str>")] | Annotated[InnerBlocks, Tag("<list>")], by_json_type("text or a list of blocks")
    ]


class NoCitations(WireModel):
    enabled: Literal[False] | None = None


class DocumentBlock(WireModel):
    type: Literal["document"]
    source: Annotated[
        Annotated[Base64Source, Tag("<base64>")]
        | Annotated[UrlSource, Tag("<url>")]
        | Annotated[PlainTextSource, Tag("<text>")]
        | Annotated[ContentSource, Tag("<content>")],
        by_type("base64", "url", "text", "content"),
    ] = Field(description="A PDF or a text.")
    title: str | None = Field(None, description="The model reads it before the document.")
    context: str | None = Field(None, description="The model reads it after the title.")
    pages: PageRange | None = Field(None, description=PAGES)
    citations: NoCitations | None = None
    cache_control: Cached = None


class SearchResultBlock(WireModel):
    type: Literal["search_result"]
    source: str
    title: str
    content: list[TextBlock] = Field(max_length=MAX_MESSAGES)
    cache_control: Cached = None


class ThinkingBlock(WireModel):
    type: Literal["thinking"]
    thinking: str
    signature: str = Field("", description="There are none here; anyone's is taken.")


class RedactedThinkingBlock(WireModel):
    type: Literal["redacted_thinking"]
    data: str = Field(description="Of another server, which alone can read it; left out.")


class ToolUseBlock(WireModel):
    type: Literal["tool_use"]
    id: str = Field(max_length=256)
    name: str = Field(max_length=256)
    input: dict[str, object]
    cache_control: Cached = None
    caller: dict[str, object] | None = Field(None, description=NOTE)


ResultBlock = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[ImageBlock, Tag("<image>")]
    | Annotated[DocumentBlock, Tag("<document>")]
    | Annotated[SearchResultBlock, Tag("<search_result>")],
    by_type("text", "image", "document", "search_result"),
]
ResultBlocks = Annotated[list[ResultBlock], Field(max_length=MAX_MESSAGES)]
ResultContent = Annotated[
    Annotated[str, Tag("<str>")] | Annotated[ResultBlocks, Tag("<list>")], by_json_type("text or a list of blocks")
]


class ToolResultBlock(WireModel):
    type: Literal["tool_result"]
    tool_use_id: str = Field(max_length=256)
    content: ResultContent | None = None
    is_error: bool | None = Field(None, description="true: the model reads `Error: ` before the content.")
    cache_control: Cached = None


ContentBlock = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[ImageBlock, Tag("<image>")]
    | Annotated[DocumentBlock, Tag("<document>")]
    | Annotated[SearchResultBlock, Tag("<search_result>")]
    | Annotated[ThinkingBlock, Tag("<thinking>")]
    | Annotated[RedactedThinkingBlock, Tag("<redacted_thinking>")]
    | Annotated[ToolUseBlock, Tag("<tool_use>")]
    | Annotated[ToolResultBlock, Tag("<tool_result>")],
    by_type("text", "image", "document", "search_result", "thinking", "redacted_thinking", "tool_use", "tool_result"),
]
ContentBlocks = Annotated[list[ContentBlock], Field(max_length=MAX_MESSAGES)]
MessageContent = Annotated[
    Annotated[str, Tag("<str>")] | Annotated[ContentBlocks, Tag("<list>")], by_json_type("text or a list of blocks")
]
TextBlocks = Annotated[list[TextBlock], Field(max_length=MAX_MESSAGES)]
SystemText = Annotated[
    Annotated[str, Tag("<str>")] | Annotated[TextBlocks, Tag("<list>")],
    by_json_type("text or a list of text blocks"),
]


class TurnMessage(WireModel):
    role: Literal["user", "assistant", "system"]
    content: MessageContent


# --- tools and settings -----------------------------------------------------------------------------------------------


class ToolDefinition(WireModel):
    """A tool that the client runs."""

    type: Literal["custom"] | None = None
    name: ToolName
    description: str | None = None
    input_schema: dict[str, object]
    strict: bool | None = Field(None, description="true: refuse a schema that cannot be enforced in every point.")
    eager_input_streaming: bool | None = Field(None, description="Arguments are always streamed as they come.")
    defer_loading: bool | None = Field(None, description="The model sees every tool from the start.")
    allowed_callers: list[Literal["direct"]] | None = None
    cache_control: Cached = None


class MessagesServerTool(WireModel):
    """A tool that a server would run. This one runs none: it is left out, with a warning, if there are others."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(pattern=f"^(?:{'|'.join(SERVER_KINDS)})_")
    name: ToolName


def _tool_kind(value: object) -> str:
    tag = type_tag(value)
    is_of_server = tag[1:].startswith(SERVER_KINDS)
    return "<server>" if is_of_server else "<custom>" if tag == "<none>" else tag


AnyTool = Annotated[
    Annotated[ToolDefinition, Tag("<custom>")] | Annotated[MessagesServerTool, Tag("<server>")],
    Discriminator(
        _tool_kind,
        custom_error_type="type",
        custom_error_message="There are no such tools here. Offer it as a tool of your own, with an input_schema",
    ),
]


class ToolChoiceField(WireModel):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = Field(None, max_length=256, description="With type tool.")
    disable_parallel_tool_use: bool | None = None


class ThinkingField(WireModel):
    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: MaxTokens | None = Field(None, description="With type enabled: then the answer begins.")
    display: Literal["summarized", "omitted"] | None = Field(
        None, description="omitted: blocks without their text. summarized: the text itself, since nothing sums it up."
    )


class OutputFormat(WireModel):
    type: Literal["json_schema"]
    schema_: dict[str, object] = Field(alias="schema")


class OutputConfig(WireModel):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = Field(None, description="Past high: high.")
    format: OutputFormat | None = None


class ContextEdit(WireModel):
    """What is taken out of a long conversation. Only what takes nothing out is accepted."""

    type: Literal["clear_thinking_20251015"]
    keep: Literal["all"]


class ContextManagement(WireModel):
    edits: list[ContextEdit] = Field(max_length=MAX_TOOLS)


class MessagesMetadata(WireModel):
    user_id: str | None = Field(None, max_length=1024, description=NOTE)


# --- the two bodies ---------------------------------------------------------------------------------------------------


class CountTokensBody(WireModel):
    """POST messages/count_tokens: what the same body would take."""

    model: str = Field(description="The model's id, one of its aliases, or accounts/<any>/models/<name>.")
    messages: list[TurnMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    system: SystemText | None = None
    tools: list[AnyTool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: ToolChoiceField | None = None
    thinking: ThinkingField | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = Field(None, description="The same as output_config.format.")
    cache_control: Cached = None
    context_management: ContextManagement | None = None
    mcp_servers: list[dict[str, object]] | None = Field(None, max_length=0, description="None can be asked.")
    speed: Literal["standard"] | None = None


class MessagesBody(CountTokensBody):
    """POST messages."""

    max_tokens: MaxTokens
    stream: bool | None = None
    stop_sequences: list[Stop] | None = Field(None, max_length=MAX_STOP_SEQUENCES)
    temperature: UnitFloat | None = Field(None, description="0: greedy. Default: the checkpoint's.")
    top_p: UnitFloat | None = Field(None, description="Default: the checkpoint's.")
    top_k: int | None = Field(None, ge=0, le=MAX_INT, description="0: off. Default: the checkpoint's.")
    metadata: MessagesMetadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = Field(None, description="There is one tier.")

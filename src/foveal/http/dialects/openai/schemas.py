"""The bodies that clients send, as pydantic models: every field of the API, its type and its range.

What holds for all of them is in dialects/wire.py. parse.py interprets fields together and with the served model, and
refuses by name what is declared here but no model can do.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, RootModel, Tag

from foveal.http.dialects.openai.tool_schemas import (
    MAX_TOOLS,
    CalledFunction,
    FunctionChoiceField,
    FunctionSpec,
    ReasoningSpec,
    ThinkingSpec,
    ToolCallParts,
    ToolChoiceField,
    ToolSpec,
)
from foveal.http.dialects.wire import (
    CACHED_ANYWAY,
    MAX_INT,
    MAX_MESSAGES,
    MAX_STOP,
    PAGES,
    SOFT_TOKENS,
    CacheControl,
    MaxTokens,
    PageRange,
    Stop,
    UnitFloat,
    WireModel,
    by_json_type,
    by_type,
)

MAX_CHOICES = 128  # n, and prompts of a completion
MAX_LOGIT_BIAS = 1024


# --- messages ---------------------------------------------------------------------------------------------------------


class TextPart(WireModel):
    type: Literal["text"]
    text: str
    cache_control: CacheControl | None = Field(None, description=CACHED_ANYWAY)


class ImageUrl(WireModel):
    url: str = Field(description="http(s) URL, data URL or bare base64.")
    detail: Literal["auto", "low", "high"] | None = Field(None, description="low: one crop; high: all of them.")
    max_soft_tokens: MaxTokens | None = Field(None, description=SOFT_TOKENS)


Image = Annotated[
    Annotated[str, Tag("<str>")] | Annotated[ImageUrl, Tag("<object>")], by_json_type("text or an object")
]


class ImagePart(WireModel):
    type: Literal["image_url"]
    image_url: Image
    cache_control: CacheControl | None = Field(None, description=CACHED_ANYWAY)


class FileField(WireModel):
    file_data: str = Field(description="A PDF or a text: data URL, bare base64 or http(s) URL.")
    filename: str | None = Field(None, max_length=256, description="The model reads it before a text.")
    pages: PageRange | None = Field(None, description=PAGES)


class FilePart(WireModel):
    type: Literal["file"]
    file: FileField
    cache_control: CacheControl | None = Field(None, description=CACHED_ANYWAY)


Part = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[ImagePart, Tag("<image_url>")] | Annotated[FilePart, Tag("<file>")],
    by_type("text", "image_url", "file"),
]
Parts = Annotated[list[Part], Field(max_length=MAX_MESSAGES)]
Content = Annotated[
    Annotated[str, Tag("<str>")] | Annotated[Parts, Tag("<list>")], by_json_type("text or a list of content parts")
]


class ChatMessage(WireModel):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"] = Field(
        description="`developer` means `system`. `tool`: the result of a call. `function`: its older form."
    )
    content: Content | None = Field(None, description="Text, or parts whose order is kept. null: an assistant's only.")
    name: str | None = Field(
        None,
        max_length=256,
        description="Of a result: the tool. Of others: accepted with a warning, as formats have no place for it.",
    )
    tool_calls: ToolCallParts | None = Field(None, description="Calls that the assistant made, as answers have them.")
    tool_call_id: str | None = Field(None, max_length=256, description="Which call a tool's message is the result of.")
    function_call: CalledFunction | None = Field(None, description="The older form of one entry of tool_calls.")
    reasoning_content: str | None = Field(
        None, description="An assistant's, as answers have it. The model's template decides what of it is shown."
    )
    reasoning: str | None = Field(None, description="The same.")


# --- what both endpoints take -----------------------------------------------------------------------------------------


class StreamOptions(WireModel):
    include_usage: bool | None = Field(
        None, description="Usage comes in one more event before [DONE], without choices, instead of with the last end."
    )


JsonSchema = Annotated[
    Annotated[dict[str, object], Tag("<object>")] | Annotated[str, Tag("<str>")],
    by_json_type("a JSON schema as an object or as text"),
]


class ResponseFormat(WireModel):
    type: Literal["text", "json_object", "json_schema", "grammar"]
    json_schema: JsonSchema | None = Field(
        None, description='The schema, or {"name": ..., "schema": {...}} around it. With type json_schema.'
    )
    schema_: JsonSchema | None = Field(None, alias="schema", description="The schema, in another place.")
    grammar: str | None = Field(None, description="GBNF, or llguidance's Lark. With type grammar.")


Stops = Annotated[list[Stop], Field(max_length=MAX_STOP)]
StopField = Annotated[
    Annotated[Stop, Tag("<str>")] | Annotated[Stops, Tag("<list>")], by_json_type("text or a list of texts")
]
Logprobs = Annotated[
    Annotated[bool, Tag("<bool>")] | Annotated[int, Field(ge=0, le=5), Tag("<number>")],
    by_json_type("true, false or a number from 0 to 5"),
]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]


class GenerationBody(WireModel):
    """The fields of chat completions and completions alike."""

    model: str = Field(description="The model's id, one of its aliases, or accounts/<any>/models/<name>.")
    max_tokens: MaxTokens | None = Field(None, description="Default: what fits, up to the server's default (2048).")
    max_completion_tokens: MaxTokens | None = Field(None, description="The same as max_tokens.")
    min_tokens: int | None = Field(None, ge=0, le=MAX_INT, description="No end before this many tokens.")
    temperature: float | None = Field(None, ge=0, le=2, description="0: greedy. Default: the checkpoint's.")
    top_p: UnitFloat | None = Field(None, description="Default: the checkpoint's.")
    top_k: int | None = Field(None, ge=0, le=100, description="0: off. Default: the checkpoint's.")
    min_p: UnitFloat | None = Field(None, description="Default: the checkpoint's.")
    typical_p: UnitFloat | None = Field(None, description="Locally typical sampling. 1: off.")
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: float | None = Field(None, ge=0.01, le=2, description="1: off.")
    mirostat_target: float | None = Field(
        None, ge=0, le=100, description="Mirostat 2.0: the surprise per token to hold, in bits. 0: off."
    )
    mirostat_lr: float | None = Field(None, ge=0, le=10, description="How fast Mirostat corrects itself. Default: 0.1.")
    n: int | None = Field(None, ge=1, le=MAX_CHOICES, description="Choices; the server caps it (default cap: 8).")
    stop: StopField | None = Field(None, description="Up to 4 texts that end the answer; they are not part of it.")
    seed: int | None = Field(None, ge=-(2**63), lt=2**63, description="The same request and seed: the same answer.")
    logit_bias: dict[str, Bias] | None = Field(
        None, max_length=MAX_LOGIT_BIAS, description="Token id -> number added to its logit."
    )
    ignore_eos: bool | None = Field(None, description="Go on past the model's own end, until max_tokens or stop.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: Logprobs | None = Field(
        None, description="true: OpenAI's chat format; a number: the older completions format with that many choices."
    )
    top_logprobs: int | None = Field(None, ge=0, le=20, description="With logprobs: true.")
    context_length_exceeded_behavior: Literal["truncate", "error"] | None = Field(
        None, description="Where max_tokens does not fit: truncate it (default), or answer with an error."
    )
    response_format: ResponseFormat | None = Field(None, description="Holds the answer to JSON, a schema or a grammar.")
    echo: bool | None = Field(
        None, description="The answer begins with the prompt: as it was given, or in chat as it was written."
    )
    echo_last: int | None = Field(None, ge=0, le=MAX_INT, description="Echo the prompt's last so many tokens only.")
    raw_output: bool | None = Field(None, description="Adds to each choice what the model saw and said.")
    return_token_ids: bool | None = Field(None, description="Adds the ids of the prompt's and the answer's tokens.")
    perf_metrics_in_response: bool | None = Field(None, description="Adds perf_metrics; streams always carry them.")
    safe_tokenization: bool | None = Field(
        None,
        description="true: what looks like a special token in a completion's prompt is text. Chat is always safe.",
    )
    prompt_cache_key: str | None = Field(None, max_length=1024, description="A routing hint; one engine needs none.")
    prompt_cache_isolation_key: str | None = Field(
        None, max_length=1024, description="Requests with different keys share no cached state."
    )
    prompt_cache_max_len: int | None = Field(
        None, ge=0, le=MAX_INT, description="Prompt tokens that may come from the prefix cache; 0: nothing is shared."
    )
    user: str | None = Field(None, max_length=1024, description="The client's own note; no effect on the answer.")
    metadata: dict[str, str] | None = Field(
        None, max_length=16, description="The client's own notes; no effect on the answer."
    )
    safety_identifier: str | None = Field(None, max_length=1024, description="As `user`.")
    service_tier: Literal["auto", "default"] | None = Field(None, description="There is one tier.")
    store: bool | None = Field(None, description="true is refused: chats are not kept. Responses are.")
    prompt_cache_retention: Literal["in_memory", "24h"] | None = Field(None, description="The most; less is kept.")


# --- the two bodies ---------------------------------------------------------------------------------------------------


class ChatBody(GenerationBody):
    """POST chat/completions: the server formats the prompt."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    modalities: list[Literal["text"]] | None = Field(None, description="Answers are text.")
    verbosity: Literal["medium"] | None = Field(None, description="No model here has another one.")
    prompt_truncate_len: int | None = Field(
        None, ge=1, le=MAX_INT, description="Leave out the oldest turns until the prompt has no more tokens than this."
    )
    tools: Annotated[list[ToolSpec], Field(max_length=MAX_TOOLS)] | None = Field(
        None, description="Functions that the model may call. Arguments fit their schemas."
    )
    tool_choice: ToolChoiceField | None = Field(
        None, description="auto (default), none, required (or any), one tool by name, or allowed_tools."
    )
    parallel_tool_calls: bool | None = Field(None, description="false: an answer has one call at most.")
    functions: Annotated[list[FunctionSpec], Field(max_length=MAX_TOOLS)] | None = Field(
        None, description="The older form of tools. Answers then have function_call."
    )
    function_call: FunctionChoiceField | None = Field(None, description="The older form of tool_choice.")
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = Field(
        None, description="For the model's template; none switches reasoning off where the template can."
    )
    reasoning: ReasoningSpec | None = Field(None, description="effort, and a limit on tokens of reasoning.")
    thinking: ThinkingSpec | None = Field(None, description="Switches reasoning on or off, with a limit on its tokens.")
    enable_thinking: bool | None = Field(None, description="Switches reasoning on or off where the template can.")
    chat_template_kwargs: Annotated[dict[str, object], Field(max_length=32)] | None = Field(
        None, description="Variables for the model's own chat template: numbers, true, false and single words."
    )


TokenId = Annotated[int, Field(ge=0, le=MAX_INT)]
TokenIds = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]
Texts = Annotated[list[str], Field(min_length=1, max_length=MAX_CHOICES)]
TokenIdLists = Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_CHOICES)]
ImageLists = Annotated[list[list[str]], Field(max_length=MAX_CHOICES)]


Prompt = Annotated[
    Annotated[str, Tag("<str>")]
    | Annotated[Texts, Tag("<list>")]
    | Annotated[TokenIds, Tag("<list of int>")]
    | Annotated[TokenIdLists, Tag("<list of list>")],
    by_json_type("text, token ids, or a list of either"),
]
Images = Annotated[
    Annotated[list[str], Tag("<list>")] | Annotated[ImageLists, Tag("<list of list>")],
    by_json_type("a list of images, or with several prompts a list of such lists"),
]


class CompletionBody(GenerationBody):
    """POST completions: the prompt is taken as it is, with `<image>` where an image belongs."""

    prompt: Prompt = Field(
        description="Text, token ids, or a list of either: several prompts give several choices, in order."
    )
    images: Images | None = Field(
        None, description="URLs, data URLs or base64, one for each `<image>`; with several prompts a list for each."
    )


# --- either -----------------------------------------------------------------------------------------------------------


def _endpoint(value: object) -> str:
    return "<completion>" if isinstance(value, dict) and "prompt" in value else "<chat>"


Endpoint = Annotated[
    Annotated[ChatBody, Tag("<chat>")] | Annotated[CompletionBody, Tag("<completion>")], Discriminator(_endpoint)
]


class TokenizeBody(RootModel[Endpoint]):
    """POST tokenize: the body of the request that is to be measured."""

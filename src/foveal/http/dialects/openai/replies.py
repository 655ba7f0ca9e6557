"""The bodies that clients get, as typed dictionaries: what is absent on the wire is absent here, never null."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NotRequired, Required

from typing_extensions import TypedDict

from foveal.types import FinishReason

if TYPE_CHECKING:
    from foveal.types import Usage as UsageCounts


class PromptTokensDetails(TypedDict):
    cached_tokens: int
    image_tokens: int
    text_tokens: int


class CompletionTokensDetails(TypedDict):
    reasoning_tokens: int


class Usage(TypedDict):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: NotRequired[CompletionTokensDetails]  # of answers with reasoning


PerfMetrics = TypedDict(
    "PerfMetrics",
    {
        "prompt-tokens": int,
        "cached-prompt-tokens": int,
        "server-time-to-first-token": NotRequired[float],  # s
        "server-processing-time": float,  # s
    },
)


class TopLogprobEntry(TypedDict):
    token: str
    token_id: NotRequired[int]  # another server may not tell it
    logprob: float
    bytes: list[int]


class LogprobEntry(TopLogprobEntry):
    text_offset: int  # characters from the start of the choice's text
    top_logprobs: list[TopLogprobEntry]


class ContentLogprobs(TypedDict):
    """OpenAI's chat format."""

    content: list[LogprobEntry]


class LegacyLogprobs(TypedDict):
    """The older completions format: columns."""

    tokens: list[str]
    token_ids: list[int | None]  # null: another server does not tell it
    token_logprobs: list[float | None]  # null: a token of an echoed prompt that was not predicted
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


Logprobs = ContentLogprobs | LegacyLogprobs


class RawOutput(TypedDict):
    """What went into the model and what came out of it."""

    prompt_fragments: list[str | int]  # the prompt before it was tokenised, with the tokens that its format dictates
    prompt_token_ids: list[int]
    completion: str  # special tokens by name
    completion_token_ids: list[int]
    completion_logprobs: NotRequired[ContentLogprobs]
    grammar: NotRequired[str]  # llguidance's text


class ChoiceDetails(TypedDict, total=False):
    """What a choice has when the request asks for it."""

    logprobs: Logprobs
    token_ids: list[int]
    prompt_token_ids: list[int]  # of completions, in a stream with the first chunk; a chat's are beside the choices
    raw_output: RawOutput  # in a stream with the last chunk


# --- chat completions -------------------------------------------------------------------------------------------------


class FunctionCall(TypedDict):
    name: str
    arguments: str  # JSON


class ToolCallEntry(TypedDict):
    id: str
    type: Literal["function"]
    function: FunctionCall


class AnswerMessage(TypedDict):
    role: Literal["assistant"]
    content: str | None  # null: nothing but calls
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[ToolCallEntry]]
    function_call: NotRequired[FunctionCall]  # where the request has functions


ChatFinishReason = FinishReason | Literal["function_call"]


class ChatChoice(ChoiceDetails):
    index: Required[int]
    message: Required[AnswerMessage]
    finish_reason: Required[ChatFinishReason | None]


class ChatCompletion(TypedDict):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    perf_metrics: NotRequired[PerfMetrics]
    prompt_token_ids: NotRequired[list[int]]


class FunctionCallPiece(TypedDict, total=False):
    name: str  # with the first piece
    arguments: str  # what the JSON text goes on with


class ToolCallPiece(TypedDict, total=False):
    """The first piece of a call has its id and its name."""

    index: Required[int]
    id: str
    type: Literal["function"]
    function: FunctionCallPiece


class ChatDelta(TypedDict, total=False):
    role: Literal["assistant"]
    content: str
    reasoning_content: str
    tool_calls: list[ToolCallPiece]
    function_call: FunctionCallPiece


class ChatChunkChoice(ChoiceDetails):
    index: Required[int]
    delta: Required[ChatDelta]
    finish_reason: Required[ChatFinishReason | None]


class ChatChunk(TypedDict):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: NotRequired[Usage]
    perf_metrics: NotRequired[PerfMetrics]
    prompt_token_ids: NotRequired[list[int]]  # in the first chunk


# --- completions ------------------------------------------------------------------------------------------------------


class CompletionChoice(ChoiceDetails):
    index: Required[int]
    text: Required[str]
    finish_reason: Required[FinishReason | None]


class Completion(TypedDict):
    """A whole answer, and in a stream also a piece of one."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: NotRequired[Usage]
    perf_metrics: NotRequired[PerfMetrics]


# --- what every reply shares ------------------------------------------------------------------------------------------


def usage_reply(usage: UsageCounts) -> Usage:
    reply: Usage = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "image_tokens": usage.image_tokens,
            "text_tokens": usage.text_tokens,
        },
    }
    if usage.reasoning_tokens:
        reply["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return reply


def perf_metrics_reply(usage: UsageCounts, first_token_s: float | None, total_s: float) -> PerfMetrics:
    metrics: PerfMetrics = {
        "prompt-tokens": usage.prompt_tokens,
        "cached-prompt-tokens": usage.cached_tokens,
        "server-processing-time": round(total_s, 4),
    }
    if first_token_s is not None:
        metrics["server-time-to-first-token"] = round(first_token_s, 4)
    return metrics

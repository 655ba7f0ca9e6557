"""The bodies and events that clients of the Responses API get. Here null stands where a value is not known or set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NotRequired

from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.types import TokenLogprob, Usage

ItemStatus = Literal["in_progress", "completed", "incomplete"]
ResponseStatus = Literal["in_progress", "completed", "incomplete", "failed"]


class OutputTopLogprob(TypedDict):
    token: str
    bytes: list[int]
    logprob: float


class OutputLogprob(OutputTopLogprob):
    top_logprobs: list[OutputTopLogprob]


class OutputTextReply(TypedDict):
    type: Literal["output_text"]
    text: str
    annotations: list[dict[str, Any]]
    logprobs: list[OutputLogprob]


class ReasoningTextReply(TypedDict):
    type: Literal["reasoning_text"]
    text: str


class OutputMessage(TypedDict):
    type: Literal["message"]
    id: str
    status: ItemStatus
    role: Literal["assistant"]
    content: list[OutputTextReply]


class OutputReasoning(TypedDict):
    type: Literal["reasoning"]
    id: str
    status: ItemStatus
    summary: list[dict[str, Any]]
    content: list[ReasoningTextReply]


class CallPlace(TypedDict):
    id: str
    status: ItemStatus
    call_id: str
    name: str
    namespace: NotRequired[str]


class OutputCall(CallPlace):
    type: Literal["function_call"]
    arguments: str


class OutputCustomCall(CallPlace):
    type: Literal["custom_tool_call"]
    input: str


OutputItem = OutputMessage | OutputReasoning | OutputCall | OutputCustomCall


class InputTokensDetails(TypedDict):
    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(TypedDict):
    reasoning_tokens: int


class ResponseUsage(TypedDict):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseFailure(TypedDict):
    code: str
    message: str


class Incompleteness(TypedDict):
    reason: Literal["max_output_tokens"]


class ResponseReply(TypedDict):
    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: ResponseStatus
    background: bool
    error: ResponseFailure | None
    incomplete_details: Incompleteness | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    model: str
    output: list[OutputItem]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: dict[str, Any]
    safety_identifier: str | None
    service_tier: str
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: Any
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None
    user: str | None


class DeletedResponse(TypedDict):
    id: str
    object: Literal["response"]
    deleted: bool


class ResponseList(TypedDict):
    object: Literal["list"]
    data: list[ResponseReply]
    first_id: str | None
    last_id: str | None
    has_more: bool


class InputItemList(TypedDict):
    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class InputTokenCount(TypedDict):
    object: Literal["response.input_tokens"]
    input_tokens: int


class ResponseEvent(TypedDict):
    """Any event of a stream; which fields it has goes by its type."""

    type: str
    sequence_number: int
    response: NotRequired[ResponseReply]
    output_index: NotRequired[int]
    item: NotRequired[OutputItem]
    item_id: NotRequired[str]
    content_index: NotRequired[int]
    part: NotRequired[OutputTextReply | ReasoningTextReply]
    delta: NotRequired[str]
    text: NotRequired[str]
    arguments: NotRequired[str]
    input: NotRequired[str]
    name: NotRequired[str]
    logprobs: NotRequired[list[OutputLogprob]]


def usage_reply(usage: Usage) -> ResponseUsage:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


LOWEST_LOGPROB = -9999.0  # JSON has no minus infinity


def logprobs_reply(tokens: Sequence[TokenLogprob]) -> list[OutputLogprob]:
    return [{**_top(token), "top_logprobs": [_top(top) for top in token.top]} for token in tokens]


def _top(token: TokenLogprob) -> OutputTopLogprob:
    logprob = LOWEST_LOGPROB if token.logprob is None else max(token.logprob, LOWEST_LOGPROB)
    return {"token": token.text, "bytes": list(token.bytes), "logprob": logprob}

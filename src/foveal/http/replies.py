"""The bodies that clients get, as typed dictionaries: what is absent on the wire is absent here, never null."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NotRequired

import msgspec
from typing_extensions import TypedDict

from foveal.types import FinishReason

if TYPE_CHECKING:
    from foveal.types import Usage as UsageCounts


class PromptTokensDetails(TypedDict):
    cached_tokens: int
    image_tokens: int
    text_tokens: int


class Usage(TypedDict):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


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
    token_id: int
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
    token_ids: list[int]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


Logprobs = ContentLogprobs | LegacyLogprobs


# --- chat completions -------------------------------------------------------------------------------------------------


class AnswerMessage(TypedDict):
    role: Literal["assistant"]
    content: str


class ChatChoice(TypedDict):
    index: int
    message: AnswerMessage
    finish_reason: FinishReason | None
    logprobs: NotRequired[Logprobs]


class ChatCompletion(TypedDict):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    perf_metrics: NotRequired[PerfMetrics]


class ChatDelta(TypedDict, total=False):
    role: Literal["assistant"]
    content: str


class ChatChunkChoice(TypedDict):
    index: int
    delta: ChatDelta
    finish_reason: FinishReason | None
    logprobs: NotRequired[Logprobs]


class ChatChunk(TypedDict):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: NotRequired[Usage]
    perf_metrics: NotRequired[PerfMetrics]


# --- completions ------------------------------------------------------------------------------------------------------


class CompletionChoice(TypedDict):
    index: int
    text: str
    finish_reason: FinishReason | None
    logprobs: NotRequired[Logprobs]


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
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "image_tokens": usage.image_tokens,
            "text_tokens": usage.text_tokens,
        },
    }


def perf_metrics_reply(usage: UsageCounts, first_token_s: float | None, total_s: float) -> PerfMetrics:
    metrics: PerfMetrics = {
        "prompt-tokens": usage.prompt_tokens,
        "cached-prompt-tokens": usage.cached_tokens,
        "server-processing-time": round(total_s, 4),
    }
    if first_token_s is not None:
        metrics["server-time-to-first-token"] = round(first_token_s, 4)
    return metrics


def to_json(reply: object) -> bytes:
    return msgspec.json.encode(reply)

"""The bodies and events that clients of the Messages API get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NotRequired

from typing_extensions import TypedDict

if TYPE_CHECKING:
    from foveal.types import Usage

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]


class TextReply(TypedDict):
    type: Literal["text"]
    text: str


class ThinkingReply(TypedDict):
    type: Literal["thinking"]
    thinking: str
    signature: str


class ToolUseReply(TypedDict):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, object]


BlockReply = TextReply | ThinkingReply | ToolUseReply


class ThinkingTokens(TypedDict):
    thinking_tokens: int


class MessageUsage(TypedDict):
    input_tokens: int  # without those read from the cache
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: ThinkingTokens


class MessageReply(TypedDict):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[BlockReply]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: MessageUsage


class TokenCount(TypedDict):
    input_tokens: int


class MessageEnd(TypedDict):
    stop_reason: StopReason
    stop_sequence: str | None


class MessageEvent(TypedDict):
    """Any event of a stream; which fields it has goes by its type."""

    type: Literal[
        "message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
        "message_stop",
    ]  # fmt: skip
    message: NotRequired[MessageReply]
    index: NotRequired[int]
    content_block: NotRequired[BlockReply]
    delta: NotRequired[MessageEnd | dict[str, str]]
    usage: NotRequired[MessageUsage]


def usage_reply(usage: Usage) -> MessageUsage:
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }

"""Writes answers as messages and their events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from foveal.http.dialects import sse
from foveal.http.dialects.anthropic.errors import error_body
from foveal.http.dialects.anthropic.replies import usage_reply
from foveal.http.dialects.blocks import Block, Blocks, Step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from foveal.errors import RequestError
    from foveal.http.dialects.answers import Answers
    from foveal.http.dialects.anthropic.replies import BlockReply, MessageEnd, MessageEvent, MessageReply
    from foveal.types import Delta

DELTAS = {
    "text": ("text_delta", "text"),
    "reasoning": ("thinking_delta", "thinking"),
    "call": ("input_json_delta", "partial_json"),
}
PING: MessageEvent = {"type": "ping"}


@dataclass(frozen=True, slots=True)
class MessagesWriter:
    """A `Writer`: one message, or named events, with pings where nothing else is to be said for a while."""

    request_id: str
    model: str  # as the client named it
    stop_sequences: Sequence[str] = ()
    shows_thinking: bool = True
    media_type: str = sse.MEDIA_TYPE

    def headers(self, answers: Answers) -> Mapping[str, str]:
        return {"request-id": self.request_id}

    async def whole(self, answers: Answers, said: Sequence[Sequence[Delta]]) -> MessageReply:
        message = self._message(answers, [self._block(block) for block in Blocks().push_all(said[0])])
        message.update(self._end(said[0][-1]))  # type: ignore[typeddict-item] # the same fields
        return message

    async def stream(self, answers: Answers) -> AsyncIterator[bytes]:
        async for event in sse.kept_alive(self._events(answers), PING):
            yield sse.event(event, event["type"])

    def failure(self, error: RequestError) -> bytes:
        return sse.event(error_body(error), "error")

    async def _events(self, answers: Answers) -> AsyncIterator[MessageEvent]:
        blocks, has_begun = Blocks(), False
        async for delta in answers.deltas():
            if not has_begun:
                has_begun = True
                yield {"type": "message_start", "message": self._message(answers, [])}
                yield PING
            for step in blocks.push(delta):
                if (event := self._event(step)) is not None:
                    yield event
            if delta.finish_reason is not None:
                end = self._end(delta)
        yield {"type": "message_delta", "delta": end, "usage": usage_reply(answers.usage)}
        yield {"type": "message_stop"}

    def _event(self, step: Step) -> MessageEvent | None:
        block = step.block
        if step.what == "open":
            return {"type": "content_block_start", "index": block.index, "content_block": _empty(block)}
        if step.what == "close":
            return {"type": "content_block_stop", "index": block.index}
        if block.kind == "reasoning" and not self.shows_thinking:
            return None
        kind, field = DELTAS[block.kind]
        return {"type": "content_block_delta", "index": block.index, "delta": {"type": kind, field: step.piece}}

    def _message(self, answers: Answers, content: list[BlockReply]) -> MessageReply:
        return {
            "id": f"msg_{self.request_id}",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_reply(answers.usage),
        }

    def _block(self, block: Block) -> BlockReply:
        if block.kind == "text":
            return {"type": "text", "text": block.text}
        if block.kind == "reasoning":
            return {"type": "thinking", "thinking": block.text if self.shows_thinking else "", "signature": ""}
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": _arguments(block)}

    def _end(self, last: Delta) -> MessageEnd:
        if last.stop is not None and last.stop in self.stop_sequences:
            return {"stop_reason": "stop_sequence", "stop_sequence": last.stop}
        if last.finish_reason == "tool_calls":
            return {"stop_reason": "tool_use", "stop_sequence": None}
        return {"stop_reason": "max_tokens" if last.finish_reason == "length" else "end_turn", "stop_sequence": None}


def _empty(block: Block) -> BlockReply:
    if block.kind == "text":
        return {"type": "text", "text": ""}
    if block.kind == "reasoning":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "tool_use", "id": block.id, "name": block.name, "input": {}}


def _arguments(block: Block) -> dict[str, object]:
    """Those of a call that max_tokens has cut are no JSON: then there are none, and stop_reason says why."""
    try:
        arguments: dict[str, object] = msgspec.json.decode(block.text or "{}", type=dict)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return arguments

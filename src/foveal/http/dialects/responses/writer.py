"""Writes answers as responses and their numbered events."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from foveal.http.dialects import sse
from foveal.http.dialects.blocks import Block, Blocks
from foveal.http.dialects.responses.replies import logprobs_reply, usage_reply
from foveal.http.dialects.responses.tool_schemas import FunctionTool
from foveal.http.dialects.responses.tools import Known, as_input, known_tools

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    from foveal.errors import RequestError
    from foveal.http.dialects.answers import Answers
    from foveal.http.dialects.blocks import Step
    from foveal.http.dialects.responses.replies import (
        CallPlace,
        ItemStatus,
        OutputCall,
        OutputCustomCall,
        OutputItem,
        OutputTextReply,
        ReasoningTextReply,
        ResponseReply,
        ResponseStatus,
    )
    from foveal.http.dialects.responses.schemas import ResponsesBody
    from foveal.http.dialects.responses.tool_schemas import AnyTool
    from foveal.types import ChatRequest, Delta

ID_PREFIX = "resp_"
ITEM_PREFIXES = {"text": "msg", "reasoning": "rs", "call": "fc"}
CUSTOM_PREFIX = "ctc"
NAMES = {"text": "output_text", "reasoning": "reasoning_text", "call": "function_call_arguments"}  # in events
CUSTOM_NAME = "custom_tool_call_input"

Event = dict[str, Any]


@dataclass(slots=True)
class ResponsesWriter:
    """A `Writer`: one response, or named events with sequence numbers."""

    request_id: str
    body: ResponsesBody
    asked: ChatRequest
    keep: Callable[[ResponseReply], Awaitable[None]] | None  # called with a response before its end is sent
    media_type: str = sse.MEDIA_TYPE
    created_s: int = field(default_factory=lambda: int(time.time()))
    _blocks: Blocks = field(default_factory=Blocks)
    _tools: Mapping[str, Known] = field(init=False)
    _num_events: int = 0

    def __post_init__(self) -> None:
        self._tools = known_tools(self.body.tools or ())

    def headers(self, answers: Answers) -> Mapping[str, str]:
        return {}

    async def whole(self, answers: Answers, said: Sequence[Sequence[Delta]]) -> ResponseReply:
        self._blocks.push_all(said[0])
        return await self._ended(answers, said[0][-1])

    async def stream(self, answers: Answers) -> AsyncIterator[bytes]:
        async for delta in answers.deltas():
            if self._num_events == 0:
                for status in ("created", "in_progress"):
                    yield self._event(f"response.{status}", response=self._response("in_progress"))
            for step in self._blocks.push(delta):
                for event in self._events(step, delta):
                    yield event
            if delta.finish_reason is not None:
                last = delta
        response = await self._ended(answers, last)
        yield self._event(f"response.{response['status']}", response=response)

    def failure(self, error: RequestError) -> bytes:
        response = self._response("failed")
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        response["error"] = {"code": code, "message": error.message}
        return self._event("response.failed", response=response)

    async def _ended(self, answers: Answers, last: Delta) -> ResponseReply:
        is_cut = last.finish_reason == "length"
        response = self._response("incomplete" if is_cut else "completed")
        response["usage"] = usage_reply(answers.usage)
        if is_cut:
            response["incomplete_details"] = {"reason": "max_output_tokens"}
        else:
            response["completed_at"] = int(time.time())
        if self.keep is not None:
            await self.keep(response)
        return response

    # --- events -------------------------------------------------------------------------------------------------------

    def _event(self, kind: str, **fields: object) -> bytes:
        event = {"type": kind, "sequence_number": self._num_events, **fields}
        self._num_events += 1
        return sse.event(event, kind)

    def _events(self, step: Step, delta: Delta) -> Iterator[bytes]:
        block = step.block
        if step.what == "grow" and self._is_custom(block):
            return  # its input is known when its JSON is whole
        if step.what == "grow":
            logprobs = {"logprobs": logprobs_reply(step.logprobs)} if block.kind == "text" else {}
            yield self._piece(block, "delta", delta=step.piece, **logprobs)
        elif step.what == "open":
            item = self._item(block, "in_progress")
            yield self._event("response.output_item.added", output_index=block.index, item=item)
            if block.kind != "call":
                yield self._part(block, "added")
        else:
            yield from self._closing(block, is_cut=delta.finish_reason == "length")

    def _closing(self, block: Block, *, is_cut: bool) -> Iterator[bytes]:
        if self._is_custom(block):
            text = as_input(block.text)
            yield self._piece(block, "delta", delta=text)
            yield self._piece(block, "done", input=text)
        elif block.kind == "call":
            yield self._piece(block, "done", name=self._known(block).name, arguments=block.text)
        else:
            logprobs = {"logprobs": logprobs_reply(block.logprobs)} if block.kind == "text" else {}
            yield self._piece(block, "done", text=block.text, **logprobs)
            yield self._part(block, "done")
        item = self._item(block, "incomplete" if is_cut else "completed")
        yield self._event("response.output_item.done", output_index=block.index, item=item)

    def _piece(self, block: Block, what: str, **fields: object) -> bytes:
        place: Event = {"item_id": self._item_id(block), "output_index": block.index}
        if block.kind != "call":
            place["content_index"] = 0
        name = CUSTOM_NAME if self._is_custom(block) else NAMES[block.kind]
        return self._event(f"response.{name}.{what}", **place, **fields)

    def _part(self, block: Block, what: str) -> bytes:
        part = _text_part(block) if block.kind == "text" else _reasoning_part(block)
        place = {"item_id": self._item_id(block), "output_index": block.index, "content_index": 0}
        return self._event(f"response.content_part.{what}", **place, part=part)

    # --- the response -------------------------------------------------------------------------------------------------

    def _known(self, block: Block) -> Known:
        """The tool that a block calls."""
        return self._tools.get(block.name) or Known(block.name)

    def _is_custom(self, block: Block) -> bool:
        return block.kind == "call" and self._known(block).is_custom

    def _item_id(self, block: Block) -> str:
        prefix = CUSTOM_PREFIX if self._is_custom(block) else ITEM_PREFIXES[block.kind]
        return f"{prefix}_{self.request_id}_{block.index}"

    def _call(self, block: Block, status: ItemStatus) -> OutputCall | OutputCustomCall:
        known = self._known(block)
        place: CallPlace = {"id": self._item_id(block), "status": status, "call_id": block.id, "name": known.name}
        if known.namespace is not None:
            place["namespace"] = known.namespace
        if known.is_custom:
            return {"type": "custom_tool_call", "input": as_input(block.text), **place}
        return {"type": "function_call", "arguments": block.text, **place}

    def _item(self, block: Block, status: ResponseStatus) -> OutputItem:
        """The block as an output item. One that has just begun has no content yet."""
        assert status != "failed"
        has_begun = bool(block.pieces)
        if block.kind == "call":
            return self._call(block, status)
        if block.kind == "reasoning":
            return {
                "type": "reasoning",
                "id": self._item_id(block),
                "status": status,
                "summary": [],
                "content": [_reasoning_part(block)] if has_begun else [],
            }
        return {
            "type": "message",
            "id": self._item_id(block),
            "status": status,
            "role": "assistant",
            "content": [_text_part(block)] if has_begun else [],
        }

    def _response(self, status: ResponseStatus) -> ResponseReply:
        body, options = self.body, self.asked.options
        is_cut = status != "completed"
        last = len(self._blocks.all) - 1
        return {
            "id": ID_PREFIX + self.request_id,
            "object": "response",
            "created_at": self.created_s,
            "completed_at": None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": body.max_tool_calls,
            "metadata": dict(body.metadata or {}),
            "model": body.model,
            "output": [
                self._item(block, "incomplete" if is_cut and block.index == last else "completed")
                for block in self._blocks.all
            ],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "prompt_cache_key": body.prompt_cache_key,
            "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
            "safety_identifier": body.safety_identifier,
            "service_tier": "default",
            "store": self.keep is not None,
            "temperature": options.sampling.temperature,
            "text": {"format": _format(body), "verbosity": "medium"},
            "tool_choice": _dumped(body.tool_choice) if body.tool_choice is not None else "auto",
            "tools": [_tool(tool) for tool in body.tools or ()],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": options.sampling.top_p,
            "truncation": body.truncation or "disabled",
            "usage": None,
            "user": body.user,
        }


def _text_part(block: Block) -> OutputTextReply:
    return {
        "type": "output_text",
        "text": block.text,
        "annotations": [],
        "logprobs": logprobs_reply(block.logprobs),
    }


def _reasoning_part(block: Block) -> ReasoningTextReply:
    return {"type": "reasoning_text", "text": block.text}


def _format(body: ResponsesBody) -> dict[str, Any]:
    return {"type": "text"} if body.text is None or body.text.format is None else _dumped(body.text.format)


def _tool(tool: AnyTool) -> dict[str, Any]:
    missing = {"parameters": None, "strict": None} if isinstance(tool, FunctionTool) else {}
    return {**missing, **_dumped(tool)}


def _dumped(value: Any) -> Any:
    return value if isinstance(value, str) else value.model_dump(mode="json", by_alias=True, exclude_none=True)

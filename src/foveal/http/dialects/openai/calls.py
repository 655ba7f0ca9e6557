"""Tool calls as OpenAI's replies have them: whole, as parts of a stream, and in the older form with one function."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from foveal.http.dialects.openai.replies import (
        AnswerMessage,
        ChatDelta,
        FunctionCall,
        FunctionCallPiece,
        ToolCallEntry,
        ToolCallPiece,
    )
    from foveal.types import ToolCallDelta


def with_calls(message: AnswerMessage, parts: Sequence[ToolCallDelta], *, older: bool) -> AnswerMessage:
    """The message with the calls that these parts make up."""
    calls = _joined(parts)
    if not calls:
        return message
    if not message["content"]:
        message["content"] = None
    if older:
        message["function_call"] = calls[0]["function"]
    else:
        message["tool_calls"] = calls
    return message


def with_pieces(delta: ChatDelta, parts: Sequence[ToolCallDelta], *, older: bool) -> ChatDelta:
    """A stream's delta with those parts that have something to show."""
    shown = [part for part in parts if part.id or part.arguments]
    if older and shown:
        function: FunctionCallPiece = {"arguments": "".join(part.arguments for part in shown)}
        if name := "".join(part.name for part in shown):
            function["name"] = name
        delta["function_call"] = function
    elif shown:
        delta["tool_calls"] = [_piece(part) for part in shown]
    return delta


def has_something(parts: Iterable[ToolCallDelta]) -> bool:
    return any(part.id or part.arguments for part in parts)


def _joined(parts: Sequence[ToolCallDelta]) -> list[ToolCallEntry]:
    calls: dict[int, ToolCallEntry] = {}
    for part in parts:
        function: FunctionCall = {"name": part.name, "arguments": ""}
        entry: ToolCallEntry = {"id": part.id, "type": "function", "function": function}
        calls.setdefault(part.index, entry)["function"]["arguments"] += part.arguments
    return [*calls.values()]


def _piece(part: ToolCallDelta) -> ToolCallPiece:
    if not part.id:
        return {"index": part.index, "function": {"arguments": part.arguments}}
    function: FunctionCallPiece = {"name": part.name, "arguments": part.arguments}
    return {"index": part.index, "id": part.id, "type": "function", "function": function}

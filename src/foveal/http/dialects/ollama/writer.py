"""Writes answers as Ollama does: one object, or lines of JSON."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from foveal.http.dialects.blocks import Blocks
from foveal.http.dialects.ollama.replies import time_of
from foveal.http.responses import to_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from foveal.errors import RequestError
    from foveal.http.dialects.answers import Answers
    from foveal.http.dialects.blocks import Block
    from foveal.types import Delta

NDJSON = "application/x-ndjson"

Reply = dict[str, Any]
REASONS = {"stop": "stop", "length": "length", "tool_calls": "stop"}


@dataclass(frozen=True, slots=True)
class OllamaWriter:
    """A `Writer`. `is_chat`: an answer is a message; otherwise it is text."""

    model: str  # as the client named it
    is_chat: bool
    media_type: str = NDJSON

    def headers(self, answers: Answers) -> Mapping[str, str]:
        return {}

    async def whole(self, answers: Answers, said: Sequence[Sequence[Delta]]) -> Reply:
        blocks = Blocks().push_all(said[0])
        texts = {kind: "".join(block.text for block in blocks if block.kind == kind) for kind in ("text", "reasoning")}
        calls = [_call(block) for block in blocks if block.kind == "call"]
        return self._reply(texts["text"], texts["reasoning"], calls) | self._end(answers, said[0][-1])

    async def stream(self, answers: Answers) -> AsyncIterator[bytes]:
        blocks = Blocks()
        async for delta in answers.deltas():
            for reply in self._replies(blocks, delta):
                yield _line(reply)
            if delta.finish_reason is not None:
                last = delta
        yield _line(self._reply() | self._end(answers, last))

    def failure(self, error: RequestError) -> bytes:
        return _line({"error": error.message})

    def _replies(self, blocks: Blocks, delta: Delta) -> Iterator[Reply]:
        """Texts as they come, calls when they are whole."""
        for step in blocks.push(delta):
            if step.block.kind == "call":
                if step.what == "close":
                    yield self._reply(calls=[_call(step.block)])
            elif step.what == "grow":
                is_text = step.block.kind == "text"
                yield self._reply(step.piece) if is_text else self._reply(reasoning=step.piece)

    def _reply(self, text: str = "", reasoning: str = "", calls: Sequence[Reply] = ()) -> Reply:
        thinking = {"thinking": reasoning} if reasoning else {}
        tool_calls = {"tool_calls": list(calls)} if calls else {}
        said: Reply = {"message": {"role": "assistant", "content": text, **thinking, **tool_calls}}
        if not self.is_chat:
            said = {"response": text, **thinking}
        return {"model": self.model, "created_at": time_of(time.time()), **said, "done": False}

    def _end(self, answers: Answers, last: Delta) -> Reply:
        first_s, total_s = answers.first_token_s or 0.0, answers.total_s
        assert last.finish_reason is not None
        return {
            "done": True,
            "done_reason": REASONS[last.finish_reason],
            "total_duration": _ns(total_s),
            "load_duration": 0,
            "prompt_eval_count": answers.usage.prompt_tokens,
            "prompt_eval_duration": _ns(first_s),
            "eval_count": answers.usage.completion_tokens,
            "eval_duration": _ns(total_s - first_s),
        }


def _line(reply: Reply) -> bytes:
    return to_json(reply) + b"\n"


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _call(block: Block) -> Reply:
    """Arguments that max_tokens has cut are no JSON: then there are none."""
    try:
        arguments = msgspec.json.decode(block.text or "{}", type=dict)
    except (msgspec.DecodeError, RecursionError):
        arguments = {}
    return {"id": block.id, "function": {"name": block.name, "arguments": arguments}}

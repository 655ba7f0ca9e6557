"""A running answer: tokens of one or several choices in, deltas of text out, with the counts and times so far.

Knows the engine as a stream of tokens and the request as it was rendered; nothing of JSON or pixels.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from foveal.conversation.detokenize import Detokenizer
from foveal.conversation.rendered import Rendered
from foveal.conversation.said import AnswerParser, Said
from foveal.engine_client.client import Tokens
from foveal.errors import CutOff
from foveal.types import Delta, Outcome, Status, Usage

TOKENS_IN_A_ROW = 64  # of one choice, before it yields to the event loop


class Answer:
    """A running answer. Counts and times are those so far; they are final once `deltas` has ended."""

    def __init__(self, rendered: Rendered, choices: Sequence[Choice], grammar: str | None, started_s: float) -> None:
        self.grammar = grammar  # the grammar that constrains the answer, in the engine's form
        self.first_token_s: float | None = None  # from acceptance to the first delta
        self._rendered = rendered
        self._choices = choices
        self._started_s = started_s
        self._status: Status = "aborted"  # until it has ended otherwise

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the client should know of its request, in sentences."""
        return self._rendered.warnings

    @property
    def prompt_token_ids(self) -> tuple[int, ...]:
        return self._rendered.prompt.token_ids

    def prompt_fragments(self) -> list[str | int]:
        """The prompt before it was tokenised, with the ids of tokens that the model's format dictates."""
        return self._rendered.fragments()

    def spell(self, token_ids: Iterable[int]) -> str:
        """The text of generated tokens as the model gave it, special tokens by name."""
        return self._choices[0].spell(token_ids)

    @property
    def total_s(self) -> float:
        return time.monotonic() - self._started_s

    @property
    def queue_s(self) -> float | None:
        """How long its choices waited for the engine at most; None until it began with one."""
        return max((choice.queue_s for choice in self._choices if choice.queue_s is not None), default=None)

    @property
    def usage(self) -> Usage:
        prompt = self._rendered.prompt
        return Usage(
            prompt_tokens=len(prompt.token_ids),
            image_tokens=prompt.num_image_tokens,
            text_tokens=prompt.num_text_tokens,
            cached_tokens=self._choices[0].num_cached_tokens,
            completion_tokens=sum(choice.num_tokens for choice in self._choices),
            reasoning_tokens=sum(choice.num_reasoning_tokens for choice in self._choices),
        )

    @property
    def outcome(self) -> Outcome:
        """How it ended: aborted, if it was left before its end. Then tokens count that were made and not taken."""
        usage = self.usage
        if self._status == "aborted":
            num_unread = sum(choice.num_unread for choice in self._choices)
            usage = replace(usage, completion_tokens=usage.completion_tokens + num_unread)
        return Outcome(usage, self._status, self.first_token_s, self.total_s)

    async def deltas(self) -> AsyncIterator[Delta]:
        """The deltas of all choices as they come; the last one of each choice has its finish_reason."""
        num_unfinished = len(self._choices)
        try:
            async for delta in interleave([choice.deltas() for choice in self._choices]):
                if self.first_token_s is None:
                    self.first_token_s = self.total_s
                num_unfinished -= delta.finish_reason is not None
                if num_unfinished == 0:
                    self._status = "finished"
                yield delta
        except CutOff:  # it stays aborted, as after a cancellation, which is no Exception
            raise
        except Exception:
            self._status = "failed"
            raise


class Choice:
    """One continuation of the prompt: tokens in, text out, in its parts if there is a parser for them."""

    def __init__(
        self,
        tokens: Tokens,
        text: Detokenizer,
        generation: AsyncExitStack,
        parser: AnswerParser | None = None,
    ) -> None:
        self.num_tokens = 0
        self.num_reasoning_tokens = 0
        self.num_cached_tokens = 0
        self.spell = text.spell
        self._tokens = tokens
        self._text = text
        self._generation = generation  # closing it stops the engine's work on this choice
        self._parser = parser
        self._has_ended = False

    @property
    def num_unread(self) -> int:
        """Tokens that were made for it, and not taken. Those after its end are not its own."""
        return 0 if self._has_ended else self._tokens.num_unread

    @property
    def queue_s(self) -> float | None:
        return self._tokens.queue_s

    async def deltas(self) -> AsyncIterator[Delta]:
        async for token in self._tokens:
            self.num_tokens += 1
            self.num_cached_tokens = token.num_cached_tokens
            parts = [*self._parts(self._text.push(token))]
            if parts[-1].finish_reason is not None:  # by the engine, or by a stop string, which the engine ignores
                self._has_ended = True
                await self._generation.aclose()
            for part in parts:
                yield part
            if self._has_ended:
                return
            if self.num_tokens % TOKENS_IN_A_ROW == 0:
                await asyncio.sleep(0)

    def _parts(self, delta: Delta) -> Iterator[Delta]:
        """The delta as its parts: one, unless calls or text stand before what comes earlier in a delta."""
        if self._parser is None:
            yield delta
            return
        was_reasoning, is_last = self._parser.is_reasoning, delta.finish_reason is not None
        echoed = delta.echo.text if delta.echo else ""
        said = self._parser.push(delta.text[len(echoed) :], is_last=is_last)
        self.num_reasoning_tokens += was_reasoning or self._parser.is_reasoning
        for part in said[:-1]:
            yield Delta(delta.index, part.text, reasoning=part.reasoning, tool_calls=part.calls)
        stop = delta.stop or self._parser.stop
        reason = "stop" if stop is not None else delta.finish_reason
        if reason == "stop" and self._parser.has_calls:
            reason, stop = "tool_calls", None
        last = said[-1] if said else Said()
        yield replace(
            delta,
            text=echoed + last.text,
            reasoning=last.reasoning,
            tool_calls=last.calls,
            finish_reason=reason,
            stop=stop,
        )


def interleave(streams: Sequence[AsyncIterator[Delta]]) -> AsyncIterator[Delta]:
    """The items of all streams, each as soon as it is there. A single stream needs no task for each item."""
    return streams[0] if len(streams) == 1 else _as_they_come(streams)


async def _as_they_come(streams: Sequence[AsyncIterator[Delta]]) -> AsyncIterator[Delta]:
    waiting = {asyncio.ensure_future(anext(stream)): stream for stream in streams}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                stream = waiting.pop(future)
                try:
                    item = future.result()
                except StopAsyncIteration:
                    continue
                yield item
                waiting[asyncio.ensure_future(anext(stream))] = stream
    finally:
        for future in waiting:
            future.cancel()

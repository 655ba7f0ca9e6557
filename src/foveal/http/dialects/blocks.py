"""The deltas of one choice as blocks: stretches of reasoning or of text, and tool calls, in their order.

Newer wires number such blocks, and open and close each of them. Knows none of these wires.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from foveal.types import Delta, TokenLogprob, ToolCallDelta

Kind = Literal["reasoning", "text", "call"]


@dataclass(slots=True)
class Block:
    """A block with what there is of it so far."""

    index: int  # among the choice's blocks, from 0
    kind: Kind
    id: str = ""  # of a call
    name: str = ""  # of the tool that is called
    pieces: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    is_whole: bool = False

    @property
    def text(self) -> str:
        """Of a call, its arguments as JSON text."""
        return "".join(self.pieces)


class Step(NamedTuple):
    """One thing that happens to a block."""

    what: Literal["open", "grow", "close"]
    block: Block
    piece: str = ""  # by which it grows
    logprobs: Sequence[TokenLogprob] = ()


class Blocks:
    """The blocks of one choice. Push its deltas in order, and go through the steps of each."""

    def __init__(self) -> None:
        self.all: list[Block] = []

    def push(self, delta: Delta) -> Iterator[Step]:
        if delta.reasoning:
            yield from self._grow("reasoning", delta.reasoning)
        if delta.text:
            yield from self._grow("text", delta.text, delta.logprobs)
        for part in delta.tool_calls:
            yield from self._call(part)
        if delta.finish_reason is not None:
            yield from self._close()

    def push_all(self, deltas: Sequence[Delta]) -> Sequence[Block]:
        """The blocks of a choice whose deltas are all there."""
        for delta in deltas:
            for _ in self.push(delta):
                pass
        return self.all

    def _grow(self, kind: Kind, piece: str, logprobs: Sequence[TokenLogprob] = ()) -> Iterator[Step]:
        block = self._open
        if block is None or block.kind != kind:
            yield from self._begin(Block(len(self.all), kind))
            block = self.all[-1]
        block.pieces.append(piece)
        block.logprobs += logprobs
        yield Step("grow", block, piece, logprobs)

    def _call(self, part: ToolCallDelta) -> Iterator[Step]:
        if part.id:
            yield from self._begin(Block(len(self.all), "call", part.id, part.name))
        block = self.all[-1]
        if part.arguments:
            block.pieces.append(part.arguments)
            yield Step("grow", block, part.arguments)
        if part.is_last:
            yield from self._close()

    @property
    def _open(self) -> Block | None:
        return None if not self.all or self.all[-1].is_whole else self.all[-1]

    def _begin(self, block: Block) -> Iterator[Step]:
        yield from self._close()
        self.all.append(block)
        yield Step("open", block)

    def _close(self) -> Iterator[Step]:
        if (block := self._open) is not None:
            block.is_whole = True
            yield Step("close", block)

"""Who gets how much of a step's time: the one place that knows the clock. Imports no torch.

The policy is: interactive first. While streams decode, a step takes about `budget_s`:

1. Every stream gets its next token, whatever that takes.
2. Prompts get what is left, as many tokens as the measured speed allows. If images wait too, prompts get half of it.
3. Images get the rest, piece by piece (layers.pieces).

Prompts and images together get a quarter of the budget even where the streams alone take longer, so they never starve.
Nobody waits for a next token while no stream decodes. Then prompts get the largest chunks, and images as much time as
those. If only images can be computed, an encoder run goes on until it ends or a message arrives. Layers are then
computed whole, which is faster than in pieces.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

MIN_SHARE = 0.25  # of the budget, for what is not a stream's next token
MIN_PROMPT_TOKENS = 16  # of a step
FIRST_PROMPT_TOKENS = 64  # of a step, until the speed is known
PIECE_MEMORY = 0.9  # how slowly the longest piece of encoder work is forgotten


class Turn(NamedTuple):
    """The encoder's share of a step."""

    has_time: Callable[[bool], bool]  # called after each piece, with whether it ended a run; True: there is for another
    takes_whole_layers: bool  # since nobody waits for a next token


class Pace:
    """Measured speeds, and the shares that follow from them."""

    def __init__(
        self, budget_s: float | None, max_prompt_tokens: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """budget_s: None where time is not shared out, and a step takes as long as its tokens and crops."""
        self.budget_s = budget_s
        self.max_prompt_tokens = max_prompt_tokens
        self.clock = clock
        self._streams_s = 0.0  # the last step in which streams ran alone
        self._token_s: float | None = None  # of a prompt, in the last step that had some
        self._piece_s = 0.0  # the longest of the last pieces

    def num_prompt_tokens(self, num_streams: int, encodes: bool) -> int:
        """How many tokens of prompts the next step may compute. encodes: whether images are waiting to be encoded."""
        if self.budget_s is None or num_streams == 0:
            return self.max_prompt_tokens
        share_s = self._left_s(self.budget_s, num_streams) / (2 if encodes else 1)
        num_tokens = int(share_s / self._token_s) if self._token_s else FIRST_PROMPT_TOKENS
        return min(max(num_tokens, MIN_PROMPT_TOKENS), self.max_prompt_tokens)

    def encoder_turn(self, num_streams: int, num_prompt_tokens: int, has_news: Callable[[], bool]) -> Turn:
        """The encoder's share of a step with these tokens; begins now. has_news: whether a message has arrived."""
        if self.budget_s is None:
            return Turn(lambda has_ended: not has_ended, True)
        prompts_s = (self._token_s or 0.0) * num_prompt_tokens
        if num_streams:
            share_s = max(self._left_s(self.budget_s, num_streams) - prompts_s, 0.0)
        elif num_prompt_tokens:
            share_s = max(self.budget_s, prompts_s)
        else:
            return Turn(lambda has_ended: not has_ended and not has_news(), True)
        start_s = last_s = self.clock()

        def has_time(has_ended: bool) -> bool:
            nonlocal last_s
            now_s = self.clock()
            self._piece_s = max(now_s - last_s, PIECE_MEMORY * self._piece_s)
            last_s = now_s
            return now_s - start_s + self._piece_s <= share_s

        return Turn(has_time, not num_streams)

    @contextmanager
    def timed(self, num_streams: int, num_prompt_tokens: int) -> Iterator[None]:
        """Learn from how long the tokens of a step take."""
        start_s = self.clock()
        yield
        seconds = self.clock() - start_s
        if not num_prompt_tokens:
            self._streams_s = seconds
        else:
            streams_s = self._streams_s if num_streams else 0.0
            self._token_s = max(seconds - streams_s, 0.0) / num_prompt_tokens

    def _left_s(self, budget_s: float, num_streams: int) -> float:
        streams_s = self._streams_s if num_streams else 0.0
        return max(budget_s - streams_s, MIN_SHARE * budget_s)

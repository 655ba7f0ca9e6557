"""Masks beside the engine's steps. A mask is computed from the moment its answer has its last token. Imports no torch.

One thread compiles grammars and one computes masks, so that a slow grammar delays its own answer. A step waits
`GRACE_S` for a new mask, which most are ready within. After that it goes on without the answer, whose turn comes when
its mask is ready. llguidance releases Python's lock while it works.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Protocol

from foveal.engine.grammar import GrammarError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


GRACE_S = 0.002
IDLE_S = 0.01  # how long a step waits that has nothing else to do
LIMIT_S = 10.0  # the fuel of llguidance ends a mask long before; this is for what the fuel does not count


class Masks(Protocol):
    """`engine.grammar.Constraint`, or a fake."""

    @property
    def closing(self) -> int | None: ...

    def allowed(self, output_token_ids: Sequence[int], vocab_size: int) -> NDArray[np.bool_]: ...


class Guides:
    """Starts guides, which share two threads."""

    def __init__(self, compiled: Callable[[str, Sequence[int], int], Masks], vocab_size: int) -> None:
        """`compiled`: such as `Grammars.start`, called in one thread alone."""
        self.vocab_size = vocab_size
        self._compiled = compiled
        self.compiling = ThreadPoolExecutor(1, "foveal-grammars")
        self.computing = ThreadPoolExecutor(1, "foveal-masks")

    def start(
        self, text: str, stop_token_ids: Sequence[int], max_tokens: int, output_token_ids: Sequence[int] = ()
    ) -> Guide:
        """A guide for an answer that may have tokens already. `text` is what `translate` returned."""
        return Guide(self, lambda: self._compiled(text, stop_token_ids, max_tokens), output_token_ids)


class Guide:
    """Which tokens may come next in one answer."""

    def __init__(self, guides: Guides, compiled: Callable[[], Masks], output_token_ids: Sequence[int]) -> None:
        self._guides = guides
        self._compiled = compiled
        self._masks: Masks | None = None
        self._ask(guides.compiling, output_token_ids)

    @property
    def is_ready(self) -> bool:
        """Whether `allowed` answers at once. What has failed is never ready, so that no step has to be run again."""
        return self._mask.done() and self._mask.exception() is None

    def advance(self, output_token_ids: Sequence[int]) -> None:
        """Begin with the mask for the token after these, which continue those before."""
        self._ask(self._guides.computing, output_token_ids)

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next, [vocab_size]. Raises GrammarError."""
        return self._mask.result()

    @property
    def closing(self) -> int | None:
        """The token that closes what is open, while the answer cannot end."""
        return self._masks.closing if self._masks else None

    def failure(self) -> Exception | None:
        """Why there is no next token: the mask could not be computed, or not in time."""
        if self._mask.done():
            return self._mask.exception()  # type: ignore[return-value]  # a thread's function raises Exceptions
        return GrammarError("it takes too long") if time.monotonic() - self._asked_s > LIMIT_S else None

    def stop(self) -> None:
        """The answer has ended: what has not begun is not computed."""
        self._mask.cancel()

    def wait(self) -> None:
        """Wait until the mask is ready, but not beyond its grace."""
        wait([self._mask], max(0.0, self._asked_s + GRACE_S - time.monotonic()))

    def _ask(self, thread: ThreadPoolExecutor, output_token_ids: Sequence[int]) -> None:
        self._asked_s = time.monotonic()
        self._mask: Future[NDArray[np.bool_]] = thread.submit(self._compute, [*output_token_ids])

    def _compute(self, output_token_ids: list[int]) -> NDArray[np.bool_]:
        self._masks = self._masks or self._compiled()
        return self._masks.allowed(output_token_ids, self._guides.vocab_size)


def wait_for_any(guides: Sequence[Guide]) -> None:
    """Wait until one of the masks is ready, for at most `IDLE_S`."""
    wait([guide._mask for guide in guides], IDLE_S, FIRST_COMPLETED)

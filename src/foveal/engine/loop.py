"""The engine's thread: receives messages, runs steps and reports their results. Waits for messages while it is idle.

The same loop runs in a thread of this process (`engine_client.local`) and in the engine's process (`process`).
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING

from foveal.engine.protocol import Abort, Close, FromEngine, StepStarted, Submit, ToEngine

if TYPE_CHECKING:
    from foveal.engine.engine import Engine


class EngineLoop:
    """Steps `engine` until the inbox says Close. `emit` is called in this thread and must not raise."""

    def __init__(self, engine: Engine, inbox: SimpleQueue[ToEngine], emit: Callable[[FromEngine], None]) -> None:
        self.engine = engine
        self.inbox = inbox
        self.emit = emit
        self._is_closed = False

    def run(self) -> None:
        """Raises IntegrityError if caches and sequences disagree when the engine becomes idle."""
        while not self._is_closed:
            if self.engine.is_idle:
                self.engine.check_integrity()
                self._apply(self.inbox.get())
            self._receive()
            self.emit(self.engine.step(self._tell_start, self._receive, self._has_news))

    def _receive(self) -> None:
        while not self.inbox.empty():  # this thread is the only reader
            self._apply(self.inbox.get())

    def _has_news(self) -> bool:
        return not self.inbox.empty()

    def _apply(self, message: ToEngine) -> None:
        match message:
            case Submit():
                self.engine.add(message)
            case Abort():
                self.engine.abort(message.sequence_id)
            case Close():
                self._is_closed = True

    def _tell_start(self, sequence_ids: tuple[int, ...]) -> None:
        self.emit(StepStarted(sequence_ids))

"""What the rest of the server sees of an engine, wherever it runs. Imports no torch.

Two implementations: `local.LocalEngine` runs the engine in a thread of this process, `supervisor.EngineProcess` in a
child process that it watches and restarts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from foveal.types import EngineInfo, EngineStats, Prompt, SamplingParams, Token


class Tokens(Protocol):
    """The tokens of one request as they come, the last one with a finish_reason."""

    def __aiter__(self) -> AsyncIterator[Token]: ...

    @property
    def num_unread(self) -> int:
        """Those that are there, and have not been asked for yet."""

    @property
    def queue_s(self) -> float | None:
        """How long the request waited before the engine began with it; None until then."""


class EngineClient(Protocol):
    """Tokens in, tokens out."""

    @property
    def info(self) -> EngineInfo: ...

    @property
    def stats(self) -> EngineStats: ...

    @property
    def is_ready(self) -> bool:
        """Whether there is an engine now. Where one is being started again, requests wait for it."""

    @property
    def num_restarts(self) -> int:
        """How often the engine crashed or hung and was started again."""

    @property
    def num_tokens(self) -> int:
        """How many it has generated, those before a restart included."""

    def submit(self, prompt: Prompt, sampling: SamplingParams) -> AbstractAsyncContextManager[Tokens]:
        """Continue `prompt`.

        Leaving the context aborts an unfinished request. The images' pixels must stay in place while it is open.
        Raises PromptTooLong, InvalidRequest or Overloaded on entering; the iterator raises GenerationFailed.
        """

    async def close(self) -> None:
        """Stop the engine. Requests in flight fail with GenerationFailed."""

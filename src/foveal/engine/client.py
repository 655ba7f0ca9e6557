"""What the rest of the server sees of an engine, wherever it runs. Imports no torch.

Two implementations: `local.LocalEngine` runs the engine in a thread of this process, `supervisor.EngineProcess` in a
child process that it watches and restarts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from foveal.types import Prompt, SamplingParams, Token

OnProgress = Callable[[float], None]
"""Called on the event loop while a model is loaded, with the share of its weights that is there, 0 to 1."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """A loaded engine: what it serves and what it has room for."""

    model_type: str
    device: str
    dtype: str
    vocab_size: int
    max_model_len: int  # tokens, prompt and answer together
    block_size: int  # tokens in a KV block
    num_blocks: int
    kv_cache_bytes: int


@dataclass(frozen=True, slots=True)
class EngineStats:
    """An engine at the end of its last step; what is counted begins anew with each engine."""

    num_running: int = 0  # sequences
    num_waiting: int = 0
    num_used_blocks: int = 0  # KV blocks that sequences hold
    num_idle_blocks: int = 0  # that hold what may be asked for again
    num_preemptions: int = 0  # counted
    num_encoded_crops: int = 0  # counted


class EngineClient(Protocol):
    """Tokens in, tokens out."""

    @property
    def info(self) -> EngineInfo: ...

    @property
    def stats(self) -> EngineStats: ...

    @property
    def num_restarts(self) -> int:
        """How often the engine died or hung, and was started again."""

    def submit(self, prompt: Prompt, sampling: SamplingParams) -> AbstractAsyncContextManager[AsyncIterator[Token]]:
        """Have `prompt` continued; the context's value yields the tokens, the last one with a finish_reason.

        Leaving the context aborts whatever is unfinished. The images' pixels must stay in place while it is open.
        Raises PromptTooLong, InvalidRequest or Overloaded on entering; the iterator raises GenerationFailed.
        """

    async def close(self) -> None:
        """Stop the engine. What is in flight fails with GenerationFailed."""

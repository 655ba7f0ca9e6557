"""The contract of the pipeline: what the wire asks of it, so that http/ can be read and tested without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager

    from foveal.serving.pipeline import Measurement, ModelCard, Vitals
    from foveal.types import ChatRequest, CompletionRequest, Delta, Usage


class Answer(Protocol):
    """An answer in the making. Counts and times are of now; they are final once `deltas` has ended."""

    @property
    def usage(self) -> Usage: ...

    @property
    def warnings(self) -> Sequence[str]:
        """What the client should know of its request, in sentences."""

    @property
    def prompt_token_ids(self) -> Sequence[int]: ...

    @property
    def grammar(self) -> str | None:
        """What the answer is held to, as the engine takes it."""

    def prompt_fragments(self) -> list[str | int]:
        """The prompt before it was tokenised, with the ids of tokens that the model's format dictates."""

    def spell(self, token_ids: Iterable[int]) -> str:
        """The text of generated tokens as the model gave it, special tokens by name."""

    @property
    def first_token_s(self) -> float | None:
        """From acceptance to the first delta; None until then."""

    @property
    def total_s(self) -> float: ...

    def deltas(self) -> AsyncIterator[Delta]:
        """The pieces of all choices as they come; the last one of each choice carries its finish_reason."""


class Pipeline(Protocol):
    @property
    def card(self) -> ModelCard: ...

    def check_ready(self) -> object:
        """Raises Overloaded while the model is loading, or when the server is stopping."""

    @property
    def vitals(self) -> Vitals: ...

    def answer(self, request: ChatRequest | CompletionRequest) -> AbstractAsyncContextManager[Answer]:
        """Entering raises RequestError before anything is generated; leaving aborts what still runs."""

    async def measure(self, requests: Sequence[ChatRequest | CompletionRequest]) -> Sequence[Measurement]:
        """What `answer` would ask of the engine for each prompt of a request. Raises RequestError."""

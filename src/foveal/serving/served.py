"""The served models: which names a client may use, and what answers for each of them.

Knows a model by what HTTP asks of it (`Served`), not by how it runs: a pipeline on an engine of our own is one kind of
entry, a test's fake another. Models can be added and removed while the server runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from foveal.errors import ConfigError, NotFound, Overloaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from foveal.serving.pipeline import Measurement, ModelCard, Vitals
    from foveal.types import ChatRequest, CompletionRequest, Delta, Usage


class Answer(Protocol):
    """A running answer. Counts and times are those so far; they are final once `deltas` has ended."""

    @property
    def usage(self) -> Usage: ...

    @property
    def warnings(self) -> Sequence[str]:
        """What the client should know of its request, in sentences."""

    @property
    def prompt_token_ids(self) -> Sequence[int]: ...

    @property
    def grammar(self) -> str | None:
        """The grammar that constrains the answer, in the engine's form."""

    def prompt_fragments(self) -> list[str | int]:
        """The prompt before it was tokenised, with the ids of tokens that the model's format dictates."""

    def spell(self, token_ids: Iterable[int]) -> str:
        """The text of generated tokens as the model gave it, special tokens by name."""

    @property
    def queue_s(self) -> float | None:
        """How long it waited for the engine at most; None until that began with it."""

    @property
    def first_token_s(self) -> float | None:
        """From acceptance to the first delta; None until then."""

    @property
    def total_s(self) -> float: ...

    def deltas(self) -> AsyncIterator[Delta]:
        """The deltas of all choices as they come; the last one of each choice has its finish_reason."""


class Served(Protocol):
    """What answers for one model."""

    @property
    def card(self) -> ModelCard:
        """The current card, with names and prices. Loading the model completes it."""

    def check_ready(self) -> object:
        """Raises Overloaded while the model is loading, or when the server is stopping."""

    @property
    def vitals(self) -> Vitals: ...

    def answer(self, request: ChatRequest | CompletionRequest) -> AbstractAsyncContextManager[Answer]:
        """Entering raises RequestError before anything is generated; leaving aborts what still runs."""

    async def measure(self, requests: Sequence[ChatRequest | CompletionRequest]) -> Sequence[Measurement]:
        """What `answer` would ask of the engine for each prompt of a request. Raises RequestError."""


class ServedModels:
    """The models of one server, in the order in which they were added."""

    def __init__(self, served: Iterable[Served] = ()) -> None:
        self._served: list[Served] = []
        for each in served:
            self.add(each)

    def __iter__(self) -> Iterator[Served]:
        return iter(tuple(self._served))  # a copy: models may be added or removed meanwhile

    def add(self, served: Served) -> None:
        """Raises ConfigError where a client could mean two models by one name."""
        taken = set().union(*(_names(other.card) for other in self._served))
        if shared := sorted(_names(served.card) & taken):
            raise ConfigError(
                f"two models would be served as {shared[0]}; give one of them another model.name or alias"
            )
        self._served.append(served)

    def remove(self, served: Served) -> None:
        """New requests no longer find it. Those that run are for its owner to end."""
        self._served.remove(served)

    def find(self, name: str) -> Served:
        """Raises NotFound where `name` is no model's id, alias or account name."""
        for is_meant in (_is_called, _is_called_in_accounts):  # an alias wins over the account name of another model
            for served in self._served:
                if is_meant(served.card, name):
                    return served
        raise NotFound("Model not found, inaccessible, and/or not deployed", param="model")

    def find_ready(self, name: str) -> Served:
        """As `find`, and raises Overloaded while the model cannot be asked."""
        served = self.find(name)
        served.check_ready()
        return served

    def check_ready(self) -> None:
        """Raises Overloaded unless every model can be asked, and has an engine that would answer now."""
        if not self._served:
            raise Overloaded("No model is served at the moment; ask again soon.")
        for served in self._served:
            served.check_ready()
            engine = served.vitals.engine
            if engine and not engine.is_ready:
                raise Overloaded("The engine is being started again; requests wait for it.")


def slug(model: str) -> str:
    """A model's id as account names write it: `Qwen/Qwen2.5-VL-3B-Instruct` is `qwen2p5-vl-3b-instruct`."""
    return model.rpartition("/")[2].lower().replace(".", "p")


def account_names(card: ModelCard, account: str) -> list[str]:
    """The model's names of the form `accounts/{account}/models/...`."""
    prefix = f"accounts/{account}/models/"
    aliases = [alias for alias in card.aliases if alias.startswith(prefix)]
    return list(dict.fromkeys([prefix + slug(card.id), *aliases]))


def _is_called(card: ModelCard, name: str) -> bool:
    return name == card.id or name in card.aliases


def _is_called_in_accounts(card: ModelCard, name: str) -> bool:
    """As `accounts/<any>/models/<slug of the id>`."""
    account, _, model = name.removeprefix("accounts/").partition("/models/")
    return name.startswith("accounts/") and "/" not in account and model == slug(card.id)


def _names(card: ModelCard) -> set[str]:
    return {card.id, *card.aliases, "accounts/*/models/" + slug(card.id)}

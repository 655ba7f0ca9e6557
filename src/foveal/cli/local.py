"""A model in this process, for the commands that need no server: the options that choose it, and its answers."""

from __future__ import annotations

import functools
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from foveal.cli import options
from foveal.cli.terminal import progress
from foveal.config import Config, Layer, load_config

if TYPE_CHECKING:
    import asyncio

    from foveal.serving.lifecycle import Service
    from foveal.serving.served import Answer
    from foveal.types import Message

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setup:
    """Which model answers, and how."""

    config: Config
    system: str | None
    max_tokens: int
    temperature: float | None  # None: the model's


SETUP_OPTIONS = (
    click.option("--system", help="A system message."),
    click.option(
        "--max-tokens",
        type=click.IntRange(min=1),
        metavar="N",
        default=512,
        show_default=True,
        help="Longest answer, in tokens.",
    ),
    click.option("--temperature", type=click.FloatRange(0, 2), metavar="T", help="0 is greedy (default: the model's)."),
    click.option("--model", "-m", help=f"{options.MODEL[0].upper()}{options.MODEL[1:]}."),
    options.mmproj,
    options.revision,
    options.device,
    options.dtype,
    options.quantization,
    options.threads,
    options.config_file,
)


def with_setup(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options above; it gets them as its `setup`."""

    @functools.wraps(function)
    def command(
        system: str | None,
        max_tokens: int,
        temperature: float | None,
        model: str | None,
        mmproj: str | None,
        revision: str | None,
        device: str | None,
        dtype: str | None,
        quantization: str | None,
        threads: int | None,
        config_file: Path | None,
        **others: object,
    ) -> None:
        engine = {"device": device, "dtype": dtype, "quantization": quantization, "num_threads": threads}
        flags: Layer = {
            "model": {"path": model, "mmproj": mmproj, "revision": revision},
            "engine": {**engine, "max_num_seqs": 1},
            "images": {"num_workers": 0, "max_image_bytes": 100_000_000},  # the user's own files are trusted
        }
        function(setup=Setup(load_config(config_file, os.environ, flags), system, max_tokens, temperature), **others)

    for option in reversed(SETUP_OPTIONS):
        command = option(command)
    return command


class LocalModel:
    """Answers one conversation at a time. Ctrl-C ends an answer, and leaves the model as it was."""

    def __init__(self, setup: Setup, service: Service, runner: asyncio.Runner) -> None:
        self.id = service.pipeline.card.id
        self._setup = setup
        self._service = service
        self._runner = runner

    def answer(self, messages: Sequence[Message], take: Callable[[Answer], Awaitable[T]]) -> T:
        """What `take` makes of the answer while it runs. Raises FovealError, and KeyboardInterrupt on Ctrl-C."""
        return self._runner.run(self._answer(messages, take))

    async def _answer(self, messages: Sequence[Message], take: Callable[[Answer], Awaitable[T]]) -> T:
        from foveal.types import ChatRequest, GenerationOptions, Message

        system, temperature = self._setup.system, self._setup.temperature
        sampling = self._service.pipeline.card.default_sampling
        if temperature is not None:
            sampling = replace(sampling, temperature=temperature)
        first = (Message("system", (system,)),) if system else ()
        request = ChatRequest((*first, *messages), GenerationOptions(sampling, self._setup.max_tokens))
        async with self._service.pipeline.answer(request) as answer:
            return await take(answer)


@contextmanager
def loaded(setup: Setup) -> Iterator[LocalModel]:
    """The model, on an event loop that runs while it loads and answers."""
    import asyncio

    from foveal.engine_client.local import LocalEngine
    from foveal.models.hub import local_folder
    from foveal.serving.lifecycle import Service

    config = setup.config
    folder = local_folder(config.model.path, config.model.revision, vision=config.model.mmproj)

    async def make() -> Service:
        return Service(config, folder)

    with asyncio.Runner() as runner:
        service = runner.run(make())
        try:
            with progress(f"Loading {service.pipeline.card.id}") as on_progress:
                runner.run(service.start(LocalEngine.start, on_progress))
            yield LocalModel(setup, service, runner)
        finally:
            runner.run(service.close())


def question(pictures: Sequence[str | bytes], text: str, first_position: int = 1) -> Message:
    """A person's turn: the pictures, then the text. first_position: of the pictures among the conversation's."""
    from foveal.types import ImageRef, Message

    images = [ImageRef(picture, position) for position, picture in enumerate(pictures, first_position)]
    return Message("user", (*images, text))

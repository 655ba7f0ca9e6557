"""`foveal ask`: answers one question with the pipeline and the engine in this process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foveal.cli import options
from foveal.cli.terminal import progress
from foveal.config import Config, Layer, load_config
from foveal.errors import FovealError

if TYPE_CHECKING:
    from foveal.serving.lifecycle import Service
    from foveal.types import ChatRequest, Message


@click.command("ask")
@click.argument("images_and_question", metavar="[IMAGE]... QUESTION", nargs=-1, required=True)
@click.option("--system", help="A system message.")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    default=512,
    show_default=True,
    help="Longest answer, in tokens.",
)
@click.option("--temperature", type=click.FloatRange(0, 2), metavar="T", help="0 is greedy (default: the model's).")
@click.option("--model", "-m", help=f"{options.MODEL[0].upper()}{options.MODEL[1:]}.")
@options.mmproj
@options.revision
@options.device
@options.dtype
@options.quantization
@options.threads
@options.config_file
def command(
    images_and_question: tuple[str, ...],
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
) -> None:
    """Ask a model about pictures, without a server.

    IMAGEs are files or URLs; the QUESTION is in quotes. The answer is streamed to the terminal.
    """
    flags: Layer = {
        "model": {"path": model, "mmproj": mmproj, "revision": revision},
        "engine": {
            "device": device,
            "dtype": dtype,
            "quantization": quantization,
            "num_threads": threads,
            "max_num_seqs": 1,
        },
        "images": {"num_workers": 0, "max_image_bytes": 100_000_000},  # the user's own files are trusted
    }
    *images, question = images_and_question
    _check_question(images, question)
    config = load_config(config_file, os.environ, flags)
    _run(config, _conversation(images, question, system), max_tokens, temperature)


def _check_question(images: list[str], question: str) -> None:
    """Raises UsageError."""
    if images and not question.strip():
        raise click.UsageError("The question is empty; put it last, in quotes.")
    if not images and (_is_url(question) or Path(question).is_file()):
        raise click.UsageError(f"the question is missing: foveal ask {question} 'What is in the picture?'")


def _run(config: Config, messages: tuple[Message, ...], max_tokens: int, temperature: float | None) -> None:
    import asyncio
    from dataclasses import replace

    from foveal.models.hub import local_folder
    from foveal.serving.lifecycle import Service
    from foveal.types import ChatRequest, GenerationOptions

    folder = local_folder(config.model.path, config.model.revision, vision=config.model.mmproj)

    async def ask() -> None:
        service = Service(config, folder)
        sampling = service.pipeline.card.default_sampling
        if temperature is not None:
            sampling = replace(sampling, temperature=temperature)
        await _answer(service, ChatRequest(messages, GenerationOptions(sampling, max_tokens)))

    asyncio.run(ask())


async def _answer(service: Service, request: ChatRequest) -> None:
    """Load the model, and print the answer as it comes."""
    from foveal.engine_client.local import LocalEngine

    try:
        with progress(f"Loading {service.pipeline.card.id}") as on_progress:
            await service.start(LocalEngine.start, on_progress)
        async with service.pipeline.answer(request) as answer:
            async for delta in answer.deltas():
                print(delta.text, end="", flush=True)
        print()
    finally:
        await service.close()


def _conversation(images: list[str], question: str, system: str | None) -> tuple[Message, ...]:
    from foveal.types import ImageRef, Message

    refs = [ImageRef(_source(image), position) for position, image in enumerate(images, 1)]
    first = [Message("system", (system,))] if system else []
    return (*first, Message("user", (*refs, question)))


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def _source(image: str) -> str:
    """A URL as it is; a file as base64, the same way a client would send it."""
    import base64

    if _is_url(image) or image.startswith("data:"):
        return image
    try:
        return "data:;base64," + base64.b64encode(Path(image).read_bytes()).decode("ascii")
    except OSError as error:
        raise FovealError(f"{image} cannot be read: {error.strerror}") from None

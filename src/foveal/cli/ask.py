"""`foveal ask`: answers one question with the pipeline and the engine in this process."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foveal.cli import options
from foveal.cli.pictures import is_url, source
from foveal.cli.terminal import progress
from foveal.config import Config, Layer, load_config

if TYPE_CHECKING:
    from foveal.serving.lifecycle import Service
    from foveal.serving.served import Answer
    from foveal.types import ChatRequest, Message

    Show = Callable[[Answer, str], Awaitable[None]]  # of what an answer says; the model's name


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
@options.as_json
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
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Ask a model about pictures, without a server.

    IMAGEs are files, URLs or - (standard input); the QUESTION is in quotes. The answer is streamed to the terminal.
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
    _run(config, _conversation(images, question, system), max_tokens, temperature, _as_object if as_json else _as_text)


def _check_question(images: list[str], question: str) -> None:
    """Raises UsageError."""
    if images and not question.strip():
        raise click.UsageError("The question is empty; put it last, in quotes.")
    if not images and (is_url(question) or Path(question).is_file()):
        raise click.UsageError(f"the question is missing: foveal ask {question} 'What is in the picture?'")


def _run(config: Config, messages: tuple[Message, ...], max_tokens: int, temperature: float | None, show: Show) -> None:
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
        await _answer(service, ChatRequest(messages, GenerationOptions(sampling, max_tokens)), show)

    asyncio.run(ask())


async def _answer(service: Service, request: ChatRequest, show: Show) -> None:
    """Load the model, and show its answer."""
    from foveal.engine_client.local import LocalEngine

    try:
        with progress(f"Loading {service.pipeline.card.id}") as on_progress:
            await service.start(LocalEngine.start, on_progress)
        async with service.pipeline.answer(request) as answer:
            await show(answer, service.pipeline.card.id)
    finally:
        await service.close()


async def _as_text(answer: Answer, model_id: str) -> None:
    """Print it as it comes."""
    async for delta in answer.deltas():
        print(delta.text, end="", flush=True)
    print()


async def _as_object(answer: Answer, model_id: str) -> None:
    """Print one JSON object when it has ended."""
    deltas = [delta async for delta in answer.deltas()]
    said = {
        "model": model_id,
        "answer": "".join(delta.text for delta in deltas),
        "finish_reason": deltas[-1].finish_reason,
        "usage": asdict(answer.usage),
        "first_token_s": answer.first_token_s,
        "total_s": answer.total_s,
    }
    print(json.dumps(said, indent=2))


def _conversation(images: list[str], question: str, system: str | None) -> tuple[Message, ...]:
    from foveal.types import ImageRef, Message

    refs = [ImageRef(source(image), position) for position, image in enumerate(images, 1)]
    first = [Message("system", (system,))] if system else []
    return (*first, Message("user", (*refs, question)))

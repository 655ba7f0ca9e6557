"""The command line: `foveal serve`, `foveal ask`, `foveal models`.

Only words and progress live here; what a command does is in service.py. Heavy modules are imported by the command that
needs them, so that `foveal --help` is quick.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from foveal import __version__
from foveal.config import Config, Layer, load_config
from foveal.errors import FovealError
from foveal.types import ChatRequest, GenerationOptions, ImageRef, Message

if TYPE_CHECKING:
    from foveal.service import Service

app = typer.Typer(
    name="foveal",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console(stderr=True, highlight=False)

Model = Annotated[
    str | None,
    typer.Argument(help="A folder, a hub id such as microsoft/Phi-3-vision-128k-instruct, or foveal-mini (default)."),
]
ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="A folder, a hub id or foveal-mini (default).")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[str | None, typer.Option(help="auto, bfloat16 or float32.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads of the engine (default: all cores).")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A TOML file with settings (docs/configuration.md).")]


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"foveal {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A self-hosted server for vision-language models, with a small model inside."""


@app.command()
def serve(
    model: Model = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Others than loopback need an API key.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on (default 8000).")] = None,
    api_key: Annotated[
        list[str] | None, typer.Option(help="A key that clients must send; repeat for several. Better in the file.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model id that clients use.")] = None,
    conversation: Annotated[
        str | None, typer.Option(help="Conversation config, e.g. vicuna (default: that of the model's family).")
    ] = None,
    max_model_len: Annotated[int | None, typer.Option(min=1, help="Context length in tokens.")] = None,
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
    config_file: ConfigFile = None,
) -> None:
    """Serve a model over HTTP. GET /readyz answers 200 once it can be asked."""
    from foveal.service import serve as run

    flags: Layer = {
        "model": {"path": model, "revision": revision, "name": name, "conversation": conversation},
        "engine": {"device": device, "dtype": dtype, "num_threads": threads, "max_model_len": max_model_len},
        "http": {"host": host, "port": port, "api_keys": api_key or None},
    }
    run(load_config(config_file, os.environ, flags), console)


@app.command()
def ask(
    images_and_question: Annotated[
        list[str], typer.Argument(metavar="[IMAGE]... QUESTION", help="Files or URLs, then the question in quotes.")
    ],
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 512,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0 is greedy (default: the model's).")] = None,
    model: ModelOption = None,
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
    config_file: ConfigFile = None,
) -> None:
    """Ask a model about pictures, without a server; the answer is streamed to the terminal."""
    *images, question = images_and_question
    if images and not question.strip():
        raise typer.BadParameter("the question is empty; put it last, in quotes")
    if not images and _is_picture(question):
        raise typer.BadParameter(f"the question is missing: foveal ask {question} 'What is in the picture?'")
    flags: Layer = {
        "model": {"path": model, "revision": revision},
        "engine": {"device": device, "dtype": dtype, "num_threads": threads, "max_num_seqs": 1},
        "images": {"num_workers": 0, "max_image_bytes": 100_000_000},  # the person's own files, on their own machine
    }
    config = load_config(config_file, os.environ, flags)
    refs = tuple(ImageRef(_source(image), position) for position, image in enumerate(images, 1))
    turns = (Message("system", (system,)),) if system else ()
    turns += (Message("user", (*refs, question)),)
    asyncio.run(_ask(config, turns, max_tokens, temperature))


@app.command()
def models() -> None:
    """List what can be served: the model inside, the families, and what is in the hub cache."""
    from foveal.service import list_models

    Console().print(list_models())


def main() -> None:
    """The `foveal` command: errors are one plain sentence and exit status 1."""
    try:
        app()
    except FovealError as error:
        console.print(f"foveal: {error}", style="red", markup=False)
        sys.exit(1)


async def _ask(config: Config, turns: tuple[Message, ...], max_tokens: int, temperature: float | None) -> None:
    from foveal.service import open_local

    with console.status(f"Loading {config.model.path} ..."):
        service = await open_local(config)
    try:
        await _stream_answer(service, turns, max_tokens, temperature)
    finally:
        await service.close()


async def _stream_answer(
    service: Service, turns: tuple[Message, ...], max_tokens: int, temperature: float | None
) -> None:
    sampling = service.pipeline.card.default_sampling
    if temperature is not None:
        sampling = replace(sampling, temperature=temperature)
    request = ChatRequest(turns, GenerationOptions(sampling, max_tokens))
    async with service.pipeline.answer(request) as answer:
        async for delta in answer.deltas():
            print(delta.text, end="", flush=True)
    print()


def _is_picture(text: str) -> bool:
    return text.startswith(("http://", "https://")) or Path(text).is_file()


def _source(image: str) -> str:
    """A URL as it is; a file as base64, the same way a client would send it."""
    if image.startswith(("http://", "https://", "data:")):
        return image
    try:
        return "data:;base64," + base64.b64encode(Path(image).read_bytes()).decode("ascii")
    except OSError as error:
        raise FovealError(f"{image} cannot be read: {error.strerror}") from None

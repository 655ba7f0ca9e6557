"""The command line: `foveal serve`, `foveal ask`, `foveal models` (and those of cli_accounts).

What a person reads and types, and in which order things are started and stopped. Heavy modules are imported by the
command that needs them, so that `foveal --help` is quick, and a server never imports torch.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from foveal import __version__
from foveal.cli_accounts import keys, usage
from foveal.config import MIB, Config, Layer, accounts_path, load_config
from foveal.errors import FovealError
from foveal.types import ChatRequest, GenerationOptions, ImageRef, Message

if TYPE_CHECKING:
    from foveal.accounting.accounting import Accounting
    from foveal.http.server import Server
    from foveal.serving.lifecycle import Service
    from foveal.types import EngineInfo, OnProgress

T = TypeVar("T")

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
        str | None,
        typer.Option(help="Conversation config, e.g. vicuna; checkpoint: its own template (default: the family's)."),
    ] = None,
    max_model_len: Annotated[int | None, typer.Option(min=1, help="Context length in tokens.")] = None,
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
    config_file: ConfigFile = None,
) -> None:
    """Serve a model over HTTP. GET /readyz answers 200 once it can be asked."""
    flags: Layer = {
        "model": {"path": model, "revision": revision, "name": name, "conversation": conversation},
        "engine": {"device": device, "dtype": dtype, "num_threads": threads, "max_model_len": max_model_len},
        "http": {"host": host, "port": port, "api_keys": api_key or None},
    }
    uvloop.run(_serve(load_config(config_file, os.environ, flags)))


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
    turns = [Message("system", (system,))] if system else []
    turns.append(Message("user", (*refs, question)))
    asyncio.run(_ask(config, tuple(turns), max_tokens, temperature))


@app.command()
def models() -> None:
    """List what can be served: the model inside, the families, and what is in the hub cache."""
    from foveal.serving.catalog import known_models

    table = Table("model", "family", "state", box=None, header_style="bold")
    for model in known_models():
        table.add_row(model.id, model.model_type, model.state)
    Console().print(table)


app.add_typer(keys, name="keys")
app.command()(usage)


def main() -> None:
    """The `foveal` command: errors are one plain sentence and exit status 1."""
    try:
        app()
    except FovealError as error:
        console.print(f"foveal: {error}", style="red", markup=False)
        sys.exit(1)


async def _serve(config: Config) -> None:
    """Listen at once, load the model, answer until told to stop; then finish what runs and leave nothing behind."""
    from foveal.engine_client.supervisor import EngineProcess
    from foveal.http.app import create_app
    from foveal.http.server import create_server, listen

    started_s = time.monotonic()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would leave people's pictures on the disk
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("uvicorn").setLevel("WARNING")
    stopped, hurried = _when_told_to_stop()
    async with AsyncExitStack() as closing:
        accounting = _accounting(config)
        service = _open(config, accounting)
        closing.push_async_callback(service.close)
        server = create_server(create_app(service.pipeline, config.http, accounting), config.http, accounting)
        listener = closing.enter_context(listen(config.http))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        closing.push_async_callback(_finish, service, server, serving, hurried)
        with _progress(f"Loading {service.pipeline.card.id}") as on_progress:
            engine = await _unless(stopped, service.start(EngineProcess.start, on_progress))
        if engine is not None:
            _show_ready(service, engine.info, _url(listener), time.monotonic() - started_s)
            await stopped.wait()


async def _finish(service: Service, server: Server, serving: asyncio.Task[None], hurried: asyncio.Event) -> None:
    """Take no more requests, and say so, until those that are being answered have ended; then stop listening."""
    from foveal.http.server import DRAIN_S

    await _unless(hurried, service.pipeline.drain(DRAIN_S))
    server.should_exit, server.force_exit = True, hurried.is_set()
    await serving


def _accounting(config: Config) -> Accounting:
    """With the keys of the configuration and of the database, if there is one."""
    from foveal.accounting.accounting import Accounting
    from foveal.accounting.books import Books

    path = accounts_path(config.accounting, os.environ)
    return Accounting(
        config.limits,
        config.prices,
        config.http.api_keys,
        open_books=lambda on_keys: Books(path, config.accounting, on_keys),
    )


async def _unless(stopped: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of the work, or None if the process is told to stop before it is done."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stopped.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        return working.result()
    working.cancel()
    await asyncio.wait([working])
    return None


def _when_told_to_stop() -> tuple[asyncio.Event, asyncio.Event]:
    """Set at the first SIGINT or SIGTERM, and at the second: whoever says it twice does not want to wait."""
    once, twice = asyncio.Event(), asyncio.Event()

    def told() -> None:
        (twice if once.is_set() else once).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told)
    return once, twice


def _show_ready(service: Service, info: EngineInfo, url: str, took_s: float) -> None:
    card = service.pipeline.card
    model = f"{card.id} on {info.device} in {info.dtype}"
    room = f"context {card.context_length:,} tokens, KV cache {info.kv_cache_bytes / MIB:,.0f} MiB"
    console.print(f"[bold]Foveal {__version__}[/bold]  {model}, {room}", soft_wrap=True)
    console.print(
        f"Ready after {took_s:.1f} s: [bold]{url}/v1[/bold]   (reference: {url}/docs; Ctrl-C stops)", soft_wrap=True
    )


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _ask(config: Config, turns: tuple[Message, ...], max_tokens: int, temperature: float | None) -> None:
    from foveal.engine_client.local import LocalEngine

    service = _open(config, None)
    try:
        with _progress(f"Loading {service.pipeline.card.id}") as on_progress:
            await service.start(LocalEngine.start, on_progress)
        await _stream_answer(service, turns, max_tokens, temperature)
    finally:
        await service.close()


def _open(config: Config, accounting: Accounting | None) -> Service:
    """The service of the configured model, which is downloaded first if need be (with progress bars of its own)."""
    from foveal.models.hub import local_folder
    from foveal.serving.lifecycle import Service

    return Service(config, local_folder(config.model.path, config.model.revision), accounting)


@contextmanager
def _progress(what: str) -> Iterator[OnProgress]:
    """A bar while a model is loaded; gone when it is."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda share: progress.update(task, completed=share)


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

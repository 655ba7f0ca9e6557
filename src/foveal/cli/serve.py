"""`foveal serve`: makes the cheap checks, then puts the server together and runs it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foveal import __version__
from foveal.cli import options
from foveal.cli.terminal import bold, progress, tell
from foveal.config import MIB, Config, Layer, TraceConfig, accounts_path, load_config
from foveal.errors import ConfigError

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from foveal.accounting.accounting import Accounting
    from foveal.http.spans import Spans
    from foveal.types import EngineInfo


@click.command(
    "serve", help=f"Serve a model over HTTP.\n\nMODEL is {options.MODEL}. GET /readyz answers 200 once it can be asked."
)
@click.argument("model", required=False)
@click.option("--host", help="Address to listen on. Others than loopback need an API key.")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Port to listen on (default 8000).")
@click.option(
    "--api-key", "api_keys", multiple=True, help="A key that clients must send; repeat for several. Better in the file."
)
@click.option("--name", help="The model id that clients use.")
@click.option(
    "--conversation", help="Conversation config, e.g. vicuna; checkpoint: its own template (default: what suits it)."
)
@click.option("--max-model-len", type=click.IntRange(min=1), metavar="N", help="Context length in tokens.")
@options.mmproj
@options.revision
@options.device
@options.dtype
@options.quantization
@options.threads
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="What the log has.")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="json: an object a line, for programs.")
@options.config_file
def command(
    model: str | None,
    host: str | None,
    port: int | None,
    api_keys: tuple[str, ...],
    name: str | None,
    conversation: str | None,
    max_model_len: int | None,
    mmproj: str | None,
    revision: str | None,
    device: str | None,
    dtype: str | None,
    quantization: str | None,
    threads: int | None,
    log_level: str | None,
    log_format: str | None,
    config_file: Path | None,
) -> None:
    flags: Layer = {
        "model": {"path": model, "mmproj": mmproj, "revision": revision, "name": name, "conversation": conversation},
        "engine": {
            "device": device,
            "dtype": dtype,
            "quantization": quantization,
            "num_threads": threads,
            "max_model_len": max_model_len,
        },
        "http": {"host": host, "port": port, "api_keys": api_keys or None},
        "log": {"level": log_level, "format": log_format},
    }
    serve(load_config(config_file, os.environ, flags))


def serve(config: Config) -> None:
    """Check what is cheap first: settings, then the machine's state. Then download, import and run."""
    import gc

    from foveal.http.listener import check_keys, check_port
    from foveal.models.hub import check_model, local_folder
    from foveal.serving.process import prepare_process

    started_s = time.monotonic()
    gc.disable()  # until all is imported, which makes no garbage
    prepare_process(config.log)
    if config.model.path:
        check_model(config.model.path, config.model.mmproj)
    check_port(config.http)
    from foveal.accounting.opening import open_accounting

    accounting = open_accounting(config, os.environ)
    check_keys(config.http, accounting)
    tracer = _tracer(config.traces)
    import uvloop

    model = config.model
    folder = local_folder(model.path, model.revision, vision=model.mmproj) if model.path else None
    uvloop.run(_run(config, folder, accounting, tracer, started_s))


def _tracer(config: TraceConfig) -> Spans | None:
    """Raises ConfigError."""
    if config.endpoint is None:
        return None
    try:
        from foveal.http.spans import Spans
    except ModuleNotFoundError:
        raise ConfigError("traces.endpoint needs OpenTelemetry: pip install 'foveal[otel]'") from None
    return Spans(config.endpoint)


async def _run(
    config: Config, folder: Path | None, accounting: Accounting, tracer: Spans | None, started_s: float
) -> None:
    """Put the server together, and run it until the process is told to stop. `folder`: of its own model, if any."""
    import gc
    from contextlib import AsyncExitStack

    from foveal.arena import PixelArena
    from foveal.engine_client.ahead import StartedAhead

    async with AsyncExitStack() as closing:
        if tracer is not None:
            closing.callback(tracer.close)
        arena, engine = PixelArena.create(config.images.arena_bytes), None
        if folder is not None:
            engine = await StartedAhead.begin(str(folder), config.engine, arena)  # while this process imports the rest
            closing.push_async_callback(engine.close)

        from foveal.accounting.kept import KeptAnswers
        from foveal.http.app import create_app
        from foveal.http.listener import listen
        from foveal.http.server import create_server
        from foveal.serving.all_models import AllModels
        from foveal.serving.lifecycle import run, when_told_to_stop

        gc.freeze()  # no search for garbage looks at what was imported
        gc.enable()
        stop = when_told_to_stop()
        accounting.start()
        closing.push_async_callback(accounting.close)
        models = AllModels(config, folder, accounting, arena)
        closing.push_async_callback(models.close)
        path = accounts_path(config.accounting, os.environ) if config.accounting.responses_on_disk else None
        kept = KeptAnswers(config.accounting, path)
        closing.push_async_callback(kept.close)
        app = create_app(models.served, config.http, accounting, kept=kept, tracer=tracer)
        server = create_server(app, config.http, accounting)
        listener = closing.enter_context(listen(config.http))

        async def load() -> None:
            if models.own is not None and engine is not None:
                with progress(f"Loading {models.own.pipeline.card.id}") as on_progress:
                    client = await models.own.start(engine.start, on_progress)
                _show_own(models.own.pipeline.card.id, client.info)
            _show_ready([model.name for model in config.models], _url(listener), time.monotonic() - started_s)

        await run(server, listener, load, models.in_flight, stop)


def _show_own(model_id: str, info: EngineInfo) -> None:
    room = f"context {info.max_model_len:,} tokens, KV cache {info.kv_cache_bytes / MIB:,.0f} MiB"
    tell(f"{bold(f'Foveal {__version__}')}  {model_id} on {info.device} in {info.dtype}, {room}")
    tell(f"Weights: {info.weights}")


def _show_ready(others: Sequence[str], url: str, took_s: float) -> None:
    """`others`: models that other servers run."""
    if others:
        tell(f"{bold(f'Foveal {__version__}')}  {', '.join(others)} on other servers")
    tell(f"Ready after {took_s:.1f} s: {bold(f'{url}/v1')}   (reference: {url}/docs; Ctrl-C stops)")


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

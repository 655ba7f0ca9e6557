"""`foveal deploy`: gives a Ray cluster what a configuration describes, and returns when it answers."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import click

from foveal.cli.terminal import bold, tell
from foveal.config import Config, load_config
from foveal.errors import ConfigError

PATIENCE_S = 5.0  # for a node of a cluster to accept a connection


@click.command(
    "deploy", help="Serve a model on a Ray cluster.\n\nAgain with a changed CONFIG: update it, request by request."
)
@click.argument("config_file", metavar="CONFIG", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--address", default="auto", help="The cluster's address (default: the one of this machine).")
def command(config_file: Path, address: str) -> None:
    deploy(load_config(config_file, os.environ, {}), address)


def deploy(config: Config, address: str) -> None:
    """Raises CheckpointError or ConfigError."""
    try:
        import ray
        from ray import serve
    except ModuleNotFoundError:
        raise ConfigError("Ray is not installed: pip install 'foveal[ray]'") from None
    from foveal.scaleout.application import NAME, application
    from foveal.serving.lifecycle import model_id

    described = application(config)
    check_listens(address)
    try:
        ray.init(address, log_to_driver=False, logging_level="WARNING")
    except ConnectionError:
        raise ConfigError(
            "there is no Ray cluster here: start one (ray start --head), or name one (--address)"
        ) from None
    serve.start(http_options={"host": config.http.host, "port": config.http.port})
    try:
        serve.run(described, name=NAME)
    except RuntimeError as error:
        raise ConfigError(f"the cluster could not start it: {error}; serve status and Ray's logs say more") from None
    tell(f"{bold(model_id(config))} answers at {bold(f'http://{config.http.host}:{config.http.port}/v1')}")
    tell("serve status shows its replicas; serve shutdown ends it")


def check_listens(address: str) -> None:
    """Raises ConfigError where nothing listens at HOST:PORT, for which Ray would wait minutes.

    Other addresses (`auto`, `ray://...`) are Ray's to find.
    """
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S).close()
    except OSError as error:
        raise ConfigError(f"there is no Ray cluster at {address}: {error.strerror or error}") from None

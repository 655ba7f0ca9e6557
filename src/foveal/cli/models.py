"""`foveal models`."""

from __future__ import annotations

import click

from foveal.cli.terminal import show_table


@click.command("models")
def command() -> None:
    """List the models that can be served without a download.

    The model inside the package, and what the hub cache holds.
    """
    from foveal.serving.catalog import known_models

    show_table(("model", "family", "state"), [(model.id, model.model_type, model.state) for model in known_models()])

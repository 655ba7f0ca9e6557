"""The command line, `foveal COMMAND`: what a person types and reads. One file a command.

Each file imports at its top only what reading the command takes, and the rest when the command runs. So `--help` and a
mistake are answered in a fraction of a second (docs/decisions/073-click-for-the-command-line.md has the figures).
"""

from __future__ import annotations

import sys

import click

from foveal import __version__
from foveal.cli import ask, bench, chat, deploy, keys, models, serve, usage, verify
from foveal.cli.terminal import complain
from foveal.errors import FovealError

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}  # as wide as the terminal, up to that


@click.group(context_settings=SETTINGS)
@click.version_option(__version__, message="foveal %(version)s")
def app() -> None:
    """A self-hosted server for vision-language models, with a small model inside."""


for module in (serve, deploy, ask, chat, models, verify, keys, usage, bench):
    app.add_command(module.command)


def main() -> None:
    """The `foveal` command: errors are one plain sentence and exit status 1."""
    try:
        app()
    except FovealError as error:
        complain(f"foveal: {error}")
        sys.exit(1)

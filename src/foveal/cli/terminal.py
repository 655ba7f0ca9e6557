"""Writes to the terminal: sentences, tables, a progress bar while a model loads. Imports rich only when it is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from foveal.types import OnProgress

WIDE = 240  # columns


def tell(sentence: str) -> None:
    """Print on stderr, apart from what a command prints for other programs."""
    click.echo(sentence, err=True)


def complain(sentence: str) -> None:
    """Print an error on stderr, in red unless NO_COLOR is set (no-color.org)."""
    click.secho(sentence, err=True, fg=None if os.environ.get("NO_COLOR") else "red")


def bold(text: str) -> str:
    return click.style(text, bold=True)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], num_left: int | None = None) -> None:
    """Print a table as wide as the terminal, or WIDE in a file or a pipe. The first `num_left` columns are words."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if num_left is None or place < num_left else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


@contextmanager
def progress(what: str) -> Iterator[OnProgress]:
    """A progress bar while a model is loaded. It is removed at the end, and drawn only on a terminal."""
    if not sys.stderr.isatty():
        yield lambda share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)

"""`foveal usage`: the ledger, summed up."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from foveal.cli import options
from foveal.cli.accounts import date_s, open_database, shown_money, span_s
from foveal.cli.terminal import show_table
from foveal.config import load_config

if TYPE_CHECKING:
    from foveal.accounting.ledger import UsageRow

By = Literal["day", "key", "model"]
COLUMNS = ("requests", "failed", "aborted", "prompt", "image", "cached", "completion", "cost", "TTFT")


@click.command("usage")
@click.option(
    "--by",
    type=click.Choice(["day", "key", "model"]),
    default="day",
    show_default=True,
    help="What the rows are for. Days are UTC.",
)
@click.option("--since", help="30d, 12h, 90m ago, or a date such as 2027-01-31 (UTC).")
@options.as_json
@options.config_file
def command(by: By, since: str | None, as_json: bool, config_file: Path | None) -> None:
    """Show what was used and what it cost.

    From the ledger. A server may be running.
    """
    with open_database(load_config(config_file, os.environ, {})) as database:
        rows = database.usage(by, _since(since, time.time()))
    if as_json:
        print(json.dumps([_as_dict(by, row) for row in rows], indent=2))
    else:
        show_table((by, *COLUMNS), [(row.group or "(no key)", *_cells(row)) for row in rows], num_left=1)


def _since(text: str | None, now_s: float) -> float:
    """The Unix time from which rows count; 0 for None."""
    if text is None:
        return 0.0
    ago_s = span_s(text)
    return now_s - ago_s if ago_s is not None else date_s(text)


def _as_dict(by: By, row: UsageRow) -> dict[str, object]:
    values = asdict(row)
    return {by: values.pop("group"), **values}


def _cells(row: UsageRow) -> Iterator[str]:
    yield from map(str, (row.num_requests, row.num_failed, row.num_aborted))
    yield from (f"{n:,}" for n in (row.prompt_tokens, row.image_tokens, row.cached_tokens, row.completion_tokens))
    yield shown_money(row.cost_nano, row.currency)
    yield "" if row.first_token_s is None else f"{row.first_token_s:.3f} s"

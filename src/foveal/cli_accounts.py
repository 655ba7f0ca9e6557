"""The commands for accounts: `foveal keys create | list | set | revoke` and `foveal usage`.

They work on the database, whether a server runs or not; one that does takes changes in within seconds.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from foveal.config import Config, accounts_path, load_config
from foveal.errors import ConfigError

if TYPE_CHECKING:
    from foveal.accounting.database import Database
    from foveal.accounting.keys import Key
    from foveal.accounting.ledger import UsageRow
    from foveal.accounting.limits import Limits

SPAN = re.compile(r"(\d{1,6})([mhd])")
SPAN_S = {"m": 60, "h": 3600, "d": 86_400}
NEVER, NONE = "never", "none"
WIDE = 240  # columns

keys = typer.Typer(
    help="API keys: who may ask a server, and how much. A running server takes changes in within seconds.",
    no_args_is_help=True,
)
console = Console(stderr=True, highlight=False)

Name = Annotated[str, typer.Argument(help="The key's name.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="The server's TOML file.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Requests = Annotated[int | None, typer.Option("--requests-per-minute", min=0, help="0: no limit.")]
PromptTokens = Annotated[int | None, typer.Option("--prompt-tokens-per-minute", min=0, help="0: no limit.")]
GeneratedTokens = Annotated[int | None, typer.Option("--generated-tokens-per-minute", min=0, help="0: no limit.")]
Concurrent = Annotated[int | None, typer.Option("--max-concurrent-requests", min=0, help="0: no limit.")]
Spending = Annotated[
    str | None,
    typer.Option("--spending-limit", help="What it may cost in all, in the currency of \\[prices], or none."),
]
Expires = Annotated[str | None, typer.Option(help="In 30d, 12h or 90m, on 2027-01-31 (UTC), or never.")]


class By(StrEnum):
    day = "day"
    key = "key"
    model = "model"


@keys.command()
def create(
    name: Name,
    account: Annotated[
        str, typer.Option(help="Whose key it is. Keys of one account share cached prompts, others never do.")
    ] = "default",
    operator: Annotated[bool, typer.Option("--operator", help="The key may also read /metrics.")] = False,
    requests_per_minute: Requests = None,
    prompt_tokens_per_minute: PromptTokens = None,
    generated_tokens_per_minute: GeneratedTokens = None,
    max_concurrent_requests: Concurrent = None,
    spending_limit: Spending = None,
    expires: Expires = None,
    config_file: ConfigFile = None,
) -> None:
    """Make a key and show its secret, this once. Limits that are not named are the server's (\\[limits])."""
    from foveal.accounting.keys import Key, check_name, new_key
    from foveal.accounting.limits import Limits

    check_name(name)
    check_name(account, "account")
    config = load_config(config_file, os.environ, {})
    new = new_key()
    limits = Limits(requests_per_minute, prompt_tokens_per_minute, generated_tokens_per_minute, max_concurrent_requests)
    key = Key(
        new.id,
        name,
        new.digest,
        account,
        created_s=time.time(),
        expires_s=_moment(expires or NEVER, time.time()),
        limits=limits,
        spending_limit_nano=_spending_limit(spending_limit or NONE, config),
        is_operator=operator,
    )
    with _database(config, make=True) as database:
        database.add(key)
    _tell(f"Key {name}. Keep its secret now: it is kept nowhere else, and is not shown again.")
    print(new.secret)


@keys.command(name="list")
def show(as_json: AsJson = False, config_file: ConfigFile = None) -> None:
    """List the keys of the database, with their limits and what they have spent."""
    config = load_config(config_file, os.environ, {})
    with _database(config) as database:
        found = database.all_keys()
    if as_json:
        print(json.dumps([_as_dict(key) for key in found], indent=2))
        return
    table = Table("name", "id", "account", "state", "limits", "spent", "spending limit", box=None, header_style="bold")
    for key in found:
        spent, most = _money(key.spent_nano, config), _money(key.spending_limit_nano, config)
        table.add_row(key.name, key.id, key.account, _state(key), _limits(key.limits), spent, most)
    _print(table)


@keys.command(name="set")
def change(
    name: Name,
    requests_per_minute: Requests = None,
    prompt_tokens_per_minute: PromptTokens = None,
    generated_tokens_per_minute: GeneratedTokens = None,
    max_concurrent_requests: Concurrent = None,
    spending_limit: Spending = None,
    expires: Expires = None,
    server_limits: Annotated[bool, typer.Option("--server-limits", help="Drop the key's own limits first.")] = False,
    config_file: ConfigFile = None,
) -> None:
    """Change a key's limits, spending limit or expiry; what is not named stays."""
    from foveal.accounting.limits import Limits

    config = load_config(config_file, os.environ, {})
    named = {
        "requests_per_minute": requests_per_minute,
        "prompt_tokens_per_minute": prompt_tokens_per_minute,
        "generated_tokens_per_minute": generated_tokens_per_minute,
        "max_concurrent_requests": max_concurrent_requests,
    }
    with _database(config) as database:
        key = database.key(name)
        limits = Limits() if server_limits else key.limits
        key = replace(
            key,
            limits=replace(limits, **{limit: value for limit, value in named.items() if value is not None}),
            expires_s=key.expires_s if expires is None else _moment(expires, time.time()),
            spending_limit_nano=(
                key.spending_limit_nano if spending_limit is None else _spending_limit(spending_limit, config)
            ),
        )
        database.change(key)
    _tell(f"Key {name}: {_state(key)}; limits: {_limits(key.limits)}")


@keys.command()
def revoke(name: Name, config_file: ConfigFile = None) -> None:
    """Let a key in no more, for good. Its rows in the ledger stay."""
    with _database(load_config(config_file, os.environ, {})) as database:
        key = database.key(name)
        if key.revoked_s is None:
            database.change(replace(key, revoked_s=time.time()))
        num_valid = sum(key.is_valid(time.time()) for key in database.all_keys())
    _tell(f"Key {name} is revoked.")
    if not num_valid:
        _tell("No key of the database is valid now. A server still asks for one, and lets nobody in.")


def usage(
    by: Annotated[By, typer.Option(help="What the rows are for. Days are UTC.")] = By.day,
    since: Annotated[str | None, typer.Option(help="30d, 12h, 90m ago, or a date such as 2027-01-31 (UTC).")] = None,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """Show what was used and what it cost, from the ledger. Works while a server runs."""
    config = load_config(config_file, os.environ, {})
    with _database(config) as database:
        rows = database.usage(by.value, _since(since, time.time()))
    if as_json:
        print(json.dumps([_usage_as_dict(by, row) for row in rows], indent=2))
        return
    columns = ("requests", "failed", "aborted", "prompt", "image", "cached", "completion", "cost", "TTFT")
    table = Table(by.value, box=None, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(row.group or "(no key)", *_usage_cells(row))
    _print(table)


@contextmanager
def _database(config: Config, make: bool = False) -> Iterator[Database]:
    """Raises ConfigError where there is none and none is to be made."""
    from foveal.accounting.database import Database

    path = accounts_path(config.accounting, os.environ)
    if not make and not path.exists():
        raise ConfigError(
            f"there are no accounts at {path} yet: foveal keys create NAME makes the first key, and accounting.ledger "
            "= true keeps a ledger without keys"
        )
    database = Database(path)
    try:
        yield database
    finally:
        database.close()


# --- what a person types ----------------------------------------------------------------------------------------------


def _moment(text: str, now_s: float) -> float | None:
    """A Unix time to come; None for never."""
    if text == NEVER:
        return None
    span_s = _span_s(text)
    return now_s + span_s if span_s is not None else _date_s(text)


def _since(text: str | None, now_s: float) -> float:
    """A Unix time gone by; the beginning of time for None."""
    if text is None:
        return 0.0
    span_s = _span_s(text)
    return now_s - span_s if span_s is not None else _date_s(text)


def _span_s(text: str) -> int | None:
    found = SPAN.fullmatch(text)
    return int(found[1]) * SPAN_S[found[2]] if found else None


def _date_s(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no date (2027-01-31) and no span of time (30d, 12h, 90m)") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _spending_limit(text: str, config: Config) -> int | None:
    from foveal.accounting.prices import MOST_MONEY, has_prices, to_nano

    if text == NONE:
        return None
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount <= MOST_MONEY:
        raise typer.BadParameter(f"{text!r} is no amount of money; such as 5 or 0.25, or none")
    if not has_prices(config.prices):
        _tell("Note: no [prices] are configured here, and without them nothing is spent.")
    return to_nano(amount)


# --- what a person reads ----------------------------------------------------------------------------------------------


def _tell(sentence: str) -> None:
    """Beside what the command prints for other programs."""
    console.print(sentence, markup=False, soft_wrap=True)


def _print(table: Table) -> None:
    """As wide as the terminal, or as it takes in a file or a pipe."""
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


def _state(key: Key) -> str:
    if key.revoked_s is not None:
        return "revoked"
    if key.expires_s is None:
        return "valid"
    return f"{'valid until' if key.is_valid(time.time()) else 'expired'} {_date(key.expires_s)}"


def _date(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _limits(limits: Limits) -> str:
    named = {name: value for name, value in asdict(limits).items() if value is not None}
    return ", ".join(f"{name} {value or NONE}" for name, value in named.items()) or "the server's"


def _money(nano: int | None, config: Config) -> str:
    from foveal.accounting.prices import in_currency

    return NONE if nano is None else f"{in_currency(nano):.6f} {config.prices.currency}"


def _as_dict(key: Key) -> dict[str, object]:
    """All that may be shown of a key."""
    return {name: value for name, value in asdict(key).items() if name != "digest"}


def _usage_as_dict(by: By, row: UsageRow) -> dict[str, object]:
    values = asdict(row)
    return {by.value: values.pop("group"), **values}


def _usage_cells(row: UsageRow) -> Iterator[str]:
    from foveal.accounting.prices import in_currency

    yield from map(str, (row.num_requests, row.num_failed, row.num_aborted))
    yield from (f"{n:,}" for n in (row.prompt_tokens, row.image_tokens, row.cached_tokens, row.completion_tokens))
    yield f"{in_currency(row.cost_nano):.6f} {row.currency}"
    yield "" if row.first_token_s is None else f"{row.first_token_s:.3f} s"

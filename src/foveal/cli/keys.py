"""`foveal keys create | list | set | revoke`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from foveal.cli import options
from foveal.cli.accounts import date_s, open_database, shown_date, shown_money, span_s
from foveal.cli.terminal import show_table, tell
from foveal.config import Config, load_config

if TYPE_CHECKING:
    from foveal.accounting.keys import Key
    from foveal.accounting.limits import Limits

Function = TypeVar("Function", bound=Callable[..., None])

NEVER, NONE = "never", "none"
LIMITS = (  # the fields of `Limits`
    "--requests-per-minute",
    "--prompt-tokens-per-minute",
    "--generated-tokens-per-minute",
    "--max-concurrent-requests",
)
COLUMNS = ("name", "id", "account", "state", "limits", "spent", "spending limit")

config_file = click.option("--config", "config_file", type=click.Path(path_type=Path), help="The server's TOML file.")
expires_option = click.option("--expires", help="In 30d, 12h or 90m, on 2027-01-31 (UTC), or never.")
spending_limit_option = click.option(
    "--spending-limit", help="What it may cost in all, in the currency of [prices], or none."
)


def limit_options(function: Function) -> Function:
    for name in reversed(LIMITS):
        function = click.option(name, type=click.IntRange(min=0), metavar="N", help="0: no limit.")(function)
    return function


@click.group("keys")
def command() -> None:
    """API keys: who may ask a server, and how much.

    A running server takes changes in within seconds.
    """


@command.command()
@click.argument("name")
@click.option(
    "--account",
    default="default",
    show_default=True,
    help="Whose key it is. Keys of one account share cached prompts, others never do.",
)
@click.option("--operator", is_flag=True, help="The key may also read /metrics and the numbers of /status.")
@limit_options
@spending_limit_option
@expires_option
@config_file
def create(
    name: str,
    account: str,
    operator: bool,
    spending_limit: str | None,
    expires: str | None,
    config_file: Path | None,
    **limits: int | None,
) -> None:
    """Make a key and show its secret, this once.

    Limits that are not named are the server's ([limits]).
    """
    from foveal.accounting.keys import Key, check_name, new_key
    from foveal.accounting.limits import Limits

    check_name(name)
    check_name(account, "account")
    config = load_config(config_file, os.environ, {})
    new, now_s = new_key(), time.time()
    terms = _terms(spending_limit or NONE, expires or NEVER, config)
    key = Key(new.id, name, new.digest, account, now_s, limits=Limits(**limits), is_operator=operator, **terms)
    with open_database(config, make=True) as database:
        database.add(key)
    tell(f"Key {name}. Keep its secret now: it is kept nowhere else, and is not shown again.")
    print(new.secret)


@command.command("list")
@options.as_json
@config_file
def show(as_json: bool, config_file: Path | None) -> None:
    """List the keys, with their limits and what they have spent."""
    config = load_config(config_file, os.environ, {})
    with open_database(config) as database:
        found = database.all_keys()
    if as_json:
        print(json.dumps([_as_dict(key) for key in found], indent=2))
    else:
        show_table(COLUMNS, [_cells(key, config) for key in found])


@command.command("set")
@click.argument("name")
@limit_options
@spending_limit_option
@expires_option
@click.option("--server-limits", is_flag=True, help="Drop the key's own limits first.")
@config_file
def change(
    name: str,
    spending_limit: str | None,
    expires: str | None,
    server_limits: bool,
    config_file: Path | None,
    **limits: int | None,
) -> None:
    """Change a key's limits, spending limit or expiry.

    What is not named stays.
    """
    from foveal.accounting.limits import Limits

    config = load_config(config_file, os.environ, {})
    terms = _terms(spending_limit, expires, config)
    named = {limit: value for limit, value in limits.items() if value is not None}
    with open_database(config) as database:
        key = database.key(name)
        own = replace(Limits() if server_limits else key.limits, **named)
        key = replace(key, limits=own, **terms)
        database.change(key)
    tell(f"Key {name}: {_state(key)}; limits: {_limits(key.limits)}")


@command.command()
@click.argument("name")
@config_file
def revoke(name: str, config_file: Path | None) -> None:
    """Refuse a key from now on.

    This cannot be undone. Its rows in the ledger stay.
    """
    with open_database(load_config(config_file, os.environ, {})) as database:
        key = database.key(name)
        if key.revoked_s is None:
            database.change(replace(key, revoked_s=time.time()))
        num_valid = sum(key.is_valid(time.time()) for key in database.all_keys())
    tell(f"Key {name} is revoked.")
    if not num_valid:
        tell("No key of the database is valid now. A server still asks for one, and lets nobody in.")


# --- reading options --------------------------------------------------------------------------------------------------


def _terms(spending_limit: str | None, expires: str | None, config: Config) -> dict[str, Any]:
    """The fields of a `Key` for which options were given. Raises BadParameter."""
    terms: dict[str, Any] = {}
    if spending_limit is not None:
        terms["spending_limit_nano"] = _spending_limit(spending_limit, config)
    if expires is not None:
        terms["expires_s"] = _moment(expires, time.time())
    return terms


def _moment(text: str, now_s: float) -> float | None:
    """The Unix time at which a key expires; None for never."""
    if text == NEVER:
        return None
    left_s = span_s(text)
    return now_s + left_s if left_s is not None else date_s(text)


def _spending_limit(text: str, config: Config) -> int | None:
    from foveal.accounting.prices import MOST_MONEY, has_prices, to_nano

    if text == NONE:
        return None
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount <= MOST_MONEY:
        raise click.BadParameter(f"{text!r} is no amount of money; such as 5 or 0.25, or none")
    if not has_prices(config.prices):
        tell("Note: no [prices] are known here, so nothing is spent. If the server's file has them, add --config FILE.")
    return to_nano(amount)


# --- writing keys -----------------------------------------------------------------------------------------------------


def _cells(key: Key, config: Config) -> tuple[str, ...]:
    currency = config.prices.currency
    most = NONE if key.spending_limit_nano is None else shown_money(key.spending_limit_nano, currency)
    spent = shown_money(key.spent_nano, currency)
    return (key.name, key.id, key.account, _state(key), _limits(key.limits), spent, most)


def _state(key: Key) -> str:
    if key.revoked_s is not None:
        return "revoked"
    if key.expires_s is None:
        return "valid"
    return f"{'valid until' if key.is_valid(time.time()) else 'expired'} {shown_date(key.expires_s)}"


def _limits(limits: Limits) -> str:
    named = {name: value for name, value in asdict(limits).items() if value is not None}
    return ", ".join(f"{name} {value or NONE}" for name, value in named.items()) or "the server's"


def _as_dict(key: Key) -> dict[str, object]:
    """All that may be shown of a key."""
    return {name: value for name, value in asdict(key).items() if name != "digest"}

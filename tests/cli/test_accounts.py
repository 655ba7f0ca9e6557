"""`foveal keys` and `foveal usage`, as they are typed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from foveal.accounting.database import Database
from foveal.accounting.keys import digest_of
from foveal.cli import app
from foveal.errors import ConfigError
from tests.accounting.builders import ENTRY

if TYPE_CHECKING:
    from pathlib import Path

DAY_S = 86_400


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "accounting.db"
    monkeypatch.setenv("FOVEAL_ACCOUNTING_PATH", str(path))
    return path


def foveal(*arguments: str) -> Result:
    """Raises the error that the command ends with."""
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def listed() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(foveal("keys", "list", "--json").stdout)
    return found


def test_a_new_keys_secret_is_shown_once_and_kept_as_a_digest(path: Path) -> None:
    created = foveal("keys", "create", "alice")
    secret = created.stdout.strip()
    assert secret.startswith("fvl-")
    assert Database(path).key("alice").digest == digest_of(secret.encode())
    for shown in (foveal("keys", "list").output, foveal("keys", "list", "--json").output):
        assert "alice" in shown
        assert secret.split("-", 2)[2] not in shown
        assert digest_of(secret.encode()).hex() not in shown
    assert secret.encode() not in path.read_bytes()


def test_what_a_key_may_is_said_when_it_is_made_and_can_be_changed(path: Path) -> None:
    foveal("keys", "create", "a", "--account", "team", "--requests-per-minute", "5", "--spending-limit", "0.25")
    before = Database(path).key("a")
    assert (before.account, before.limits.requests_per_minute, before.spending_limit_nano) == ("team", 5, 250_000_000)
    foveal("keys", "set", "a", "--max-concurrent-requests", "2", "--spending-limit", "none", "--expires", "1d")
    after = Database(path).key("a")
    assert (after.limits.requests_per_minute, after.limits.max_concurrent_requests) == (5, 2)
    assert after.spending_limit_nano is None
    assert after.expires_s == pytest.approx(time.time() + DAY_S, abs=60)
    foveal("keys", "set", "a", "--server-limits", "--prompt-tokens-per-minute", "0", "--expires", "never")
    last = Database(path).key("a")
    assert (last.limits.requests_per_minute, last.limits.prompt_tokens_per_minute, last.expires_s) == (None, 0, None)
    assert (last.digest, last.id, last.created_s) == (before.digest, before.id, before.created_s)


def test_a_revoked_key_stays_revoked_and_its_name_taken(path: Path) -> None:
    foveal("keys", "create", "alice")
    assert "lets nobody in" in foveal("keys", "revoke", "alice").output
    revoked_s = Database(path).key("alice").revoked_s
    foveal("keys", "revoke", "alice")
    assert Database(path).key("alice").revoked_s == revoked_s
    assert "revoked" in foveal("keys", "list").output
    with pytest.raises(ConfigError, match="already"):
        foveal("keys", "create", "alice")


@pytest.mark.parametrize(
    "arguments",
    [
        ("keys", "create", "x", "--expires", "soon"),
        ("keys", "create", "x", "--spending-limit", "much"),
        ("keys", "create", "x", "--spending-limit", "-1"),
        ("keys", "create", "x", "--spending-limit", "nan"),
        ("keys", "create", "x", "--spending-limit", "1e12"),
        ("keys", "create", "x", "--requests-per-minute", "-1"),
        ("usage", "--since", "yesterday"),
        ("usage", "--by", "hour"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_made(path: Path, arguments: tuple[str, ...]) -> None:
    Database(path).close()
    assert foveal(*arguments).exit_code == 2
    assert listed() == []


@pytest.mark.parametrize("arguments", [("keys", "list"), ("keys", "revoke", "x"), ("usage",)])
def test_without_accounts_the_way_to_have_some_is_told_and_no_file_is_made(
    path: Path, arguments: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError, match="foveal keys create NAME"):
        foveal(*arguments)
    assert not path.exists()


def test_usage_is_a_table_or_json_by_day_key_or_model(path: Path) -> None:
    Database(path).record([ENTRY], {})
    shown = foveal("usage", "--by", "key").stdout
    assert "alice" in shown
    assert "0.000001 USD" in shown  # 700 billionths
    (row,) = json.loads(foveal("usage", "--by", "model", "--json").stdout)
    assert (row["model"], row["prompt_tokens"], row["cost_nano"], row["num_requests"]) == ("m", 10, 700, 1)
    (row,) = json.loads(foveal("usage", "--json").stdout)
    assert row["day"] == "1970-01-01"


@pytest.mark.parametrize(
    ("since", "num_days"), [("1970-01-01", 1), ("1970-01-02", 0), ("1d", 0), ("1970-01-01T00:16:40+00:00", 1)]
)
def test_usage_since_a_moment(path: Path, since: str, num_days: int) -> None:
    Database(path).record([ENTRY], {})  # 1000 s after the beginning of 1970
    assert len(json.loads(foveal("usage", "--json", "--since", since).stdout)) == num_days


def test_a_spending_limit_without_prices_is_noted(path: Path) -> None:
    noted = foveal("keys", "create", "x", "--spending-limit", "5").output
    assert "no [prices]" in noted
    assert "--config FILE" in noted  # where a server may have them
    assert Database(path).key("x").spending_limit_nano == 5 * 10**9

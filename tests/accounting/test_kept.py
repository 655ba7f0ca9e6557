"""Answers that clients find again: whose they are, how long they stay, and where."""

from __future__ import annotations

import asyncio
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from foveal.accounting.database import Database
from foveal.accounting.kept import DAY_S, PRUNE_S, KeptAnswer, KeptAnswers
from foveal.config import AccountingConfig
from foveal.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from typing import Any

ANSWER = KeptAnswer("a", "me", 1000.0, None, b"input", b"answer")
SECOND = replace(ANSWER, id="b", previous_id="a")


def with_kept(
    work: Callable[[KeptAnswers], Coroutine[Any, Any, object]],
    path: Path | None = None,
    now: Callable[[], float] = lambda: 1000.0,
    **settings: Any,
) -> Any:
    async def run() -> object:
        kept = KeptAnswers(AccountingConfig(**settings), path, now)
        try:
            return await work(kept)
        finally:
            await kept.close()

    return asyncio.run(run())


async def keep_all(kept: KeptAnswers, *answers: KeptAnswer) -> None:
    for answer in answers:
        await kept.keep(answer)


async def ids(kept: KeptAnswers, account: str = "me") -> list[str]:
    return [answer.id for answer in await kept.newest(account, 100)]


def test_an_answer_is_found_as_it_was_kept() -> None:
    async def work(kept: KeptAnswers) -> KeptAnswer:
        await keep_all(kept, ANSWER)
        return await kept.find("me", "a")

    assert with_kept(work) == ANSWER


def test_a_chain_is_all_answers_before_it_and_itself() -> None:
    async def work(kept: KeptAnswers) -> object:
        await keep_all(kept, ANSWER, SECOND, replace(ANSWER, id="other"))
        return [answer.id for answer in await kept.chain("me", "b")]

    assert with_kept(work) == ["a", "b"]


def test_a_chain_that_lost_a_link_or_is_too_large_is_an_error() -> None:
    async def work(kept: KeptAnswers) -> None:
        await keep_all(kept, ANSWER, SECOND)
        with pytest.raises(InvalidRequest, match="more than 20 bytes"):
            await kept.chain("me", "b", max_bytes=20)
        await kept.delete("me", "a")
        with pytest.raises(NotFound, match="'a'"):
            await kept.chain("me", "b")

    with_kept(work)


def test_other_accounts_find_nothing() -> None:
    async def work(kept: KeptAnswers) -> None:
        await keep_all(kept, ANSWER)
        with pytest.raises(NotFound):
            await kept.find("they", "a")
        with pytest.raises(NotFound):
            await kept.delete("they", "a")
        assert await ids(kept, "they") == []
        await keep_all(kept, replace(ANSWER, id="b", account="they"), replace(ANSWER, id="c"))
        assert [answer.id for answer in await kept.newest("they", 9, after="c")] == []
        await kept.delete("me", "c")
        assert await ids(kept) == ["a"]

    with_kept(work)


def test_lists_are_paged_from_the_newest_on() -> None:
    async def work(kept: KeptAnswers) -> object:
        await keep_all(kept, *(replace(ANSWER, id=name) for name in "abcd"))
        first = await kept.newest("me", 2)
        return [answer.id for answer in [*first, *await kept.newest("me", 2, first[-1].id)]]

    assert with_kept(work) == ["d", "c", "b", "a"]


def test_answers_that_are_too_old_are_forgotten() -> None:
    now_s = 1000.0

    async def work(kept: KeptAnswers) -> None:
        nonlocal now_s
        await keep_all(kept, ANSWER)
        now_s += DAY_S + PRUNE_S
        assert await ids(kept) == []

    with_kept(work, now=lambda: now_s, responses_days=1)


def test_the_account_that_has_most_loses_its_oldest_where_there_is_no_room() -> None:
    big = replace(ANSWER, input=b"x" * 40, answer=b"")

    async def work(kept: KeptAnswers) -> None:
        await keep_all(kept, replace(big, id="theirs", account="they"))
        await keep_all(kept, *(replace(big, id=name) for name in "abc"))
        assert await ids(kept) == ["c"]
        assert await ids(kept, "they") == ["theirs"]
        await keep_all(kept, replace(big, id="huge", input=b"x" * 101))
        assert await ids(kept) == ["c"]

    with_kept(work, responses_bytes=100)


def test_in_a_file_they_outlive_the_server_and_stand_beside_the_accounts(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    with_kept(lambda kept: keep_all(kept, ANSWER), path)
    Database(path).close()
    assert with_kept(lambda kept: kept.find("me", "a"), path) == ANSWER
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_in_memory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with_kept(lambda kept: keep_all(kept, ANSWER))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_costs_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "accounts.db"
    path.write_text("not a database, but long enough to be told from one" * 50)
    with_kept(lambda kept: keep_all(kept, ANSWER), path)
    assert "could not be kept" in caplog.text

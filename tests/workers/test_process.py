"""workers/: a child answers, dies, hangs, or sends nonsense; in each case it is ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from foveal.workers.process import DYING_S, ChildProcess, Gone
from foveal.workers.spawn import ONE_THREAD, Kind, spawn
from tests.accounting.builders import until
from tests.workers.children import JOB_TIMEOUT_S, MIB, SETTINGS, WORDS, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def child(function: str, prefix: str = "") -> AsyncIterator[ChildProcess]:
    process = spawn(Kind(f"tests.workers.children:{function}", ONE_THREAD), SETTINGS.frame(Settings(prefix)))
    try:
        yield process
    finally:
        await process.end()


async def ask(process: ChildProcess, word: str) -> str:
    await process.ready()
    return await process.ask(WORDS.frame(word), WORDS)


async def test_it_answers_by_its_settings() -> None:
    async with child("echo", "re: ") as process:
        assert [await ask(process, word) for word in ("a", "b")] == ["re: a", "re: b"]
        assert process.is_alive
    assert not process.is_alive


async def test_one_that_dies_is_gone_and_says_how() -> None:
    async with child("echo") as process:
        with pytest.raises(Gone):
            await ask(process, "die 3")
        assert await process.end() == 3
        assert await process.end() == 3


async def test_one_that_was_killed_is_gone() -> None:
    async with child("echo") as process:
        await process.ready()
        process.kill()
        with pytest.raises(Gone):
            await ask(process, "word")
        assert await process.end() == -signal.SIGKILL


async def test_a_job_that_takes_too_long_ends_it_without_the_servers_help() -> None:
    async with child("echo") as process:
        await process.ready()
        started_s = time.monotonic()
        with pytest.raises(Gone):
            await ask(process, "hang")
        assert JOB_TIMEOUT_S * 0.9 < time.monotonic() - started_s < 20
        assert await process.end() == -signal.SIGALRM


async def test_one_that_hangs_is_ended_at_once() -> None:
    async with child("sleep") as process:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.ready(), 0.05)
        assert await process.end() == -signal.SIGKILL


async def test_one_that_hangs_up_without_dying_is_killed() -> None:
    async with child("hang_up") as process:
        await process.ready()
        with pytest.raises(Gone):
            await process.receive(WORDS)
        started_s = time.monotonic()
        assert await process.end() == -signal.SIGKILL
        assert time.monotonic() - started_s >= DYING_S


@pytest.mark.parametrize("said", ["\0\0\0\0", "\3\0\0\0abc", "\0\0\0\1"])
async def test_one_that_says_nothing_sensible_is_gone(said: str) -> None:
    """An empty message, three numbers instead of a word, the beginning of 16 MiB."""
    async with child("babble") as process:
        with pytest.raises(Gone):
            await ask(process, said)


async def test_its_limits_are_the_kernels() -> None:
    async with child("echo") as process:
        assert await ask(process, "grow less") == str(8 * MIB)
        folder = Path(f"/proc/{process.pid}")
        limits = {line[:25].strip(): line[25:].split()[0] for line in (folder / "limits").read_text().splitlines()}
        assert limits["Max core file size"] == limits["Max file size"] == "0"
        assert limits["Max open files"] == "16"
        assert "NoNewPrivs:\t1" in (folder / "status").read_text()
        with pytest.raises(Gone):
            await ask(process, "grow")


async def test_signals_to_a_group_are_for_the_server() -> None:
    async with child("echo") as process:
        await process.ready()
        assert os.getsid(process.pid) == process.pid != os.getsid(0)
        for asked_to_end in (signal.SIGINT, signal.SIGTERM):
            os.kill(process.pid, asked_to_end)
        assert await ask(process, "word") == "word"


async def test_what_it_writes_to_stderr_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="tests.workers.children")
    async with child("complain"):
        await until(lambda: len(caplog.records) == 5)
    word, wrong, line, brackets, end = caplog.records
    assert {record.name for record in caplog.records} == {"tests.workers.children"}
    assert (word.levelname, word.getMessage()) == ("DEBUG", "a word")
    assert (wrong.levelname, wrong.getMessage()) == ("WARNING", "it went\nwrong")
    assert (wrong.exc_text or "").endswith("ValueError: a reason")
    assert (line.levelname, line.getMessage()) == ("WARNING", "a line of C")
    assert (brackets.levelname, brackets.getMessage()[-9:]) == ("WARNING", "[" * 9)
    assert (end.levelname, "RuntimeError: the end" in (end.exc_text or "")) == ("ERROR", True)


def test_it_does_not_outlive_its_parent_whatever_it_does() -> None:
    program = """
import asyncio, os, signal
from foveal.workers.spawn import Kind, spawn
from tests.workers.children import SETTINGS, Settings

process = spawn(Kind("tests.workers.children:hang_up", {}), SETTINGS.frame(Settings()))
asyncio.run(process.ready())
print(process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    parent = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, env=_environment(), check=False)

    assert parent.returncode == -signal.SIGKILL
    assert _is_gone(int(parent.stdout), within_s=5)


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _is_gone(pid: int, within_s: float) -> bool:
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.01)
    return False


def test_what_a_child_imports_of_workers_is_light() -> None:
    heavy = {"asyncio", "subprocess", "numpy", "foveal.types"}
    program = f"import foveal.workers.child, foveal.workers.jobs, sys; sys.exit(bool({heavy} & {{*sys.modules}}))"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

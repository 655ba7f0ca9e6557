"""Help and mistakes are answered at once. Limited is the processor time of the fastest run, whatever else runs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

MAX_CPU_S = 0.5  # user and system, children included; 0.1 to 0.3 where this was written
NUM_RUNS = 3  # in the first one, Python may have to compile the modules
NOT_FOR_HELP = ("torch", "numpy", "tokenizers", "pydantic", "starlette", "uvicorn", "rich", "asyncio", "jinja2")


@pytest.fixture(scope="module")
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def cpu_s(*arguments: str) -> tuple[float, int]:
    """The processor time that `foveal` takes with its children, and its exit status."""
    with subprocess.Popen(
        [sys.executable, "-m", "foveal", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as started:
        _, status, used = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime, started.returncode


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["serve", "--prot", "1"], 2),
        (["bench", "--modell", "any"], 2),
        (["serve", "no-such-folder"], 1),
        (["serve", "--port", "TAKEN"], 1),
    ],
    ids=["help", "mistyped flag", "mistyped flag of bench", "missing folder", "taken port"],
)
def test_help_and_mistakes_are_answered_at_once(arguments: list[str], status: int, taken_port: int) -> None:
    arguments = [argument.replace("TAKEN", str(taken_port)) for argument in arguments]
    runs = [cpu_s(*arguments) for _ in range(NUM_RUNS)]
    assert {ended for _, ended in runs} == {status}
    assert min(used_s for used_s, _ in runs) < MAX_CPU_S


def test_help_imports_nothing_that_only_running_takes() -> None:
    code = (
        "import sys; sys.argv = ['foveal', '--help']\n"
        "from foveal.cli import main\n"
        "try: main()\n"
        f"finally: print('imported:', *[name for name in {NOT_FOR_HELP!r} if name in sys.modules], file=sys.stderr)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stderr.strip() == "imported:"

"""A program: one of several servers that share accounts, as the environment configures them.

`python -m tests.accounting.ingress KEY_ID NUM`: says "ready", and at each line that it reads asks NUM times at once. It
says what came of it as JSON, and lets the requests end at the next line.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import IO

from foveal.accounting import shared_meters
from foveal.accounting.opening import open_accounting
from foveal.config import load_config
from foveal.errors import RequestError
from foveal.types import Caller
from tests.accounting.builders import outcome


async def main(key_id: str, num: int) -> None:
    shared_meters.PATIENCE_S = 60.0  # the machine may be busy
    accounting = open_accounting(load_config(None, os.environ, {}), os.environ)
    accounting.start()
    print("ready", flush=True)
    round_number = 0
    while await asyncio.to_thread(sys.stdin.readline):
        round_number += 1
        async with AsyncExitStack() as running:

            async def ask(
                number: int, running: AsyncExitStack = running, prefix: str = f"{os.getpid()}-{round_number}"
            ) -> str:
                try:
                    caller = Caller(f"{prefix}-{number}", key_id)
                    bill = await running.enter_async_context(accounting.admit(caller, "m"))
                    await bill.reserve(10, 10)
                except RequestError as error:
                    return type(error).__name__
                running.callback(bill.count, outcome(10, 10))
                return "passed"

            results = await asyncio.gather(*(ask(number) for number in range(num)))
            print(json.dumps(Counter(results)), flush=True)
            await asyncio.to_thread(sys.stdin.readline)
    await accounting.close()


class Ingress:
    """The program, seen from a test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self) -> None:
        self._say("ask")

    def came(self) -> Counter[str]:
        """What came of it."""
        return Counter(json.loads(self._line()))

    def end(self) -> None:
        self._say("end")

    def ready(self) -> None:
        assert self._line() == "ready\n"

    def _say(self, line: str) -> None:
        print(line, file=_pipe(self.process.stdin), flush=True)

    def _line(self) -> str:
        return _pipe(self.process.stdout).readline()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@contextmanager
def ingresses(num: int, environ: dict[str, str], key_id: str, num_requests: int) -> Iterator[Sequence[Ingress]]:
    """So many servers, ready, of which each asks `num_requests` times at once."""
    command = [sys.executable, "-m", "tests.accounting.ingress", key_id, str(num_requests)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, env=os.environ | environ, **pipes) for _ in range(num)]  # type: ignore[call-overload]
    try:
        servers = [Ingress(process) for process in started]
        for server in servers:
            server.ready()
        yield servers
    finally:
        for process in started:
            process.communicate()
        assert all(process.returncode in (0, -9) for process in started)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

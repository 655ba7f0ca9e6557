"""Grammars from clients, tried out before anything is generated, where they can do no harm. Imports no torch.

The work is `grammar_worker`'s, a process that is started with the first grammar and again after each that ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from foveal.errors import InvalidRequest, Overloaded

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.types import Grammar

MAX_NUM_KNOWN = 64
MAX_LINE_BYTES = 1 << 20
TIME_LIMIT_S = 1.0  # for one grammar; the engine takes as long again before its first token
WAIT_S = 5.0  # for those before it, for the process to start, and for the grammar itself
PARAM = "response_format"


class Verdict(msgspec.Struct, frozen=True):
    """The grammar as the engine takes it, or why it cannot be used."""

    text: str = ""
    problem: str = ""


class GrammarCheck:
    """Asks one worker, one grammar at a time. Close it in the end."""

    def __init__(self, folder: Path, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._command = [sys.executable, "-m", "foveal.engine_client.grammar_worker", str(folder), str(time_limit_s)]
        self._turn = asyncio.Lock()
        self._worker: Process | None = None
        self._known: OrderedDict[Grammar, str] = OrderedDict()  # to the text that the engine takes

    async def translate(self, grammar: Grammar) -> str:
        """The text that SamplingParams takes. Raises InvalidRequest, Overloaded where there was no time to find out."""
        if grammar not in self._known:
            try:
                async with asyncio.timeout(WAIT_S), self._turn:
                    self._known[grammar] = await self._ask(grammar)
            except TimeoutError:
                raise Overloaded("Too many grammars are being compiled; try again in a moment.") from None
        self._known.move_to_end(grammar)
        while len(self._known) > MAX_NUM_KNOWN:
            self._known.popitem(last=False)
        return self._known[grammar]

    async def close(self) -> None:
        """End the worker."""
        worker, self._worker = self._worker, None
        if worker is not None:
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
            await worker.wait()

    async def _ask(self, grammar: Grammar) -> str:
        try:
            answer = await self._exchange(msgspec.json.encode(grammar) + b"\n")
        except BaseException:
            await self.close()  # its next line would be the answer to this question
            raise
        if not answer:
            await self.close()
            raise InvalidRequest("This response_format is too complex: make it smaller or simpler.", PARAM)
        verdict = msgspec.json.decode(answer, type=Verdict)
        if verdict.problem:
            raise InvalidRequest(f"This response_format cannot be used: {verdict.problem}", PARAM)
        return verdict.text

    async def _exchange(self, line: bytes) -> bytes:
        """The worker's answer, b"" if it died of the question."""
        if self._worker is None or self._worker.returncode is not None:
            self._worker = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, limit=MAX_LINE_BYTES, start_new_session=True
            )
        stdin, stdout = self._worker.stdin, self._worker.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(line)
            await stdin.drain()
            return await stdout.readline()
        except ConnectionError:
            return b""

"""Tries clients' grammars before anything is generated, in a process that may be killed. Imports no torch.

The process runs `grammar_trial`. It is started with the first grammar, and again after a grammar that ended it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from foveal.config import DEFAULT_BOUNDS, SchemaConfig
from foveal.engine_client.grammar_protocol import GRAMMARS, SETTINGS, VERDICTS, TrialSettings, Verdict
from foveal.errors import InvalidRequest, Overloaded
from foveal.workers.process import ChildProcess, Gone
from foveal.workers.spawn import ONE_THREAD, Kind, spawn

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.types import Grammar

MAX_NUM_KNOWN = 64
TIME_LIMIT_S = 1.0  # for one grammar; the engine spends as long again before the first token
WAIT_S = 5.0  # for the grammars before it, the start of the process, and the grammar itself
_TRIAL = Kind("foveal.engine_client.grammar_trial:serve", ONE_THREAD)


class GrammarCheck:
    """Sends grammars to one worker, one at a time. Must be closed."""

    def __init__(self, folder: Path, time_limit_s: float = TIME_LIMIT_S, bounds: SchemaConfig = DEFAULT_BOUNDS) -> None:
        """`bounds`: of answers where their schemas have none."""
        self._settings = TrialSettings(str(folder), time_limit_s, bounds)
        self._turn = asyncio.Lock()
        self._worker: ChildProcess | None = None
        self._known: OrderedDict[Grammar, str] = OrderedDict()  # -> the text for SamplingParams

    async def translate(self, grammar: Grammar) -> str:
        """The grammar as SamplingParams takes it. Raises InvalidRequest, or Overloaded if it was not tried in time."""
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
            await worker.end()

    async def _ask(self, grammar: Grammar) -> str:
        try:
            verdict = await self._verdict(grammar)
        except Gone:
            await self.close()
            message = f"{grammar.source} is too complex: make it smaller or simpler."
            raise InvalidRequest(message, _param(grammar)) from None
        except BaseException:
            await self.close()  # its next reply would be the verdict on this grammar
            raise
        if verdict.problem:
            raise InvalidRequest(f"{grammar.source} cannot be used: {verdict.problem}", _param(grammar))
        return verdict.text

    async def _verdict(self, grammar: Grammar) -> Verdict:
        """Raises Gone if the grammar ends the worker."""
        if self._worker is not None and not self._worker.is_alive:
            await self.close()
        if self._worker is None:
            self._worker = spawn(_TRIAL, SETTINGS.frame(self._settings))
        await self._worker.ready()
        return await self._worker.ask(GRAMMARS.frame(grammar), VERDICTS)


def _param(grammar: Grammar) -> str:
    """The field of the request that it was made from."""
    return grammar.source.split()[-1]

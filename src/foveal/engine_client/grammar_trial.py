"""The process that tries grammars before the engine gets them. `serve` runs in it.

The kernel enforces both limits: an alarm ends the process if a grammar takes too long, and allocations fail if it takes
too much memory.
"""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path

from foveal.engine.grammar import GrammarError, Grammars, translate
from foveal.engine_client.grammar_protocol import GRAMMARS, SETTINGS, VERDICTS, Verdict
from foveal.types import Grammar
from foveal.workers.frames import receive
from foveal.workers.jobs import answer_jobs
from foveal.workers.limits import Limits

LIMITS = Limits(memory_bytes=2 << 30, max_num_files=16, max_file_bytes=0)


def serve(server: socket.socket) -> None:
    """Try the grammars that the server sends, until it closes the connection."""
    settings = receive(server, SETTINGS)
    grammars = Grammars(Path(settings.folder))
    _ = grammars.tokenizer  # loaded now, so that it does not count as a grammar's time
    answer_jobs(server, GRAMMARS, VERDICTS, partial(judge, grammars), LIMITS, settings.time_limit_s)


def judge(grammars: Grammars, grammar: Grammar) -> Verdict:
    """Do everything with the grammar that the engine will do before the first token."""
    try:
        text = translate(grammar)
        constraint = grammars.start(text, ())
        constraint.allowed((), grammars.tokenizer.vocab_size)
    except GrammarError as error:
        return Verdict(problem=str(error))
    return Verdict(text)

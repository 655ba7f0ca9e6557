"""The process that tries grammars before the engine gets them. `serve` runs in it.

The kernel enforces both limits: an alarm ends the process if a grammar takes too long, and allocations fail if it takes
too much memory.
"""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path

import numpy as np

from foveal.config import SchemaConfig
from foveal.engine.grammar import Constraint, GrammarError, Grammars, translate
from foveal.engine_client.grammar_protocol import GRAMMARS, SETTINGS, VERDICTS, Verdict
from foveal.types import Grammar
from foveal.workers.frames import receive
from foveal.workers.jobs import answer_jobs
from foveal.workers.limits import Limits

NO_LIMIT = 1 << 30  # of tokens: the trial ends no answer
NUM_TOKENS = 32  # of an answer that is tried
LIMITS = Limits(memory_bytes=2 << 30, max_num_files=16, max_file_bytes=0)


def serve(server: socket.socket) -> None:
    """Try the grammars that the server sends, until it closes the connection."""
    settings = receive(server, SETTINGS)
    grammars = Grammars(Path(settings.folder))
    answer_jobs(server, GRAMMARS, VERDICTS, partial(judge, grammars, settings.bounds), LIMITS, settings.time_limit_s)


def judge(grammars: Grammars, bounds: SchemaConfig, grammar: Grammar) -> Verdict:
    """Do with the grammar what the engine will do: compile it, and follow it for some tokens."""
    try:
        text = translate(grammar, bounds)
        _follow(grammars.start(text, (), NO_LIMIT), grammars.tokenizer.vocab_size)
    except GrammarError as error:
        return Verdict(problem=str(error))
    return Verdict(text)


def _follow(constraint: Constraint, vocab_size: int) -> None:
    """Take tokens by chance, each time the same ones: an ambiguous grammar is light at first. Raises GrammarError."""
    random, output = np.random.default_rng(0), list[int]()
    while len(output) < NUM_TOKENS:
        allowed = constraint.allowed(output, vocab_size).nonzero()[0]
        if not len(allowed):
            return
        output.append(int(random.choice(allowed)))

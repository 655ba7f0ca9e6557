"""The process that tries grammars out first: `python -m foveal.engine_client.grammar_worker FOLDER LIMIT_S`.

A line of JSON in is a Grammar, a line of JSON out its Verdict. A grammar that takes too long ends the process, by an
alarm that the kernel keeps; one that takes too much memory fails, by a limit that the kernel keeps, too.
"""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path

import msgspec

from foveal.engine.grammar import GrammarError, Grammars, translate
from foveal.engine_client.grammar_check import Verdict
from foveal.types import Grammar

MEMORY_BYTES = 2 << 30  # of address space


def main(folder: Path, time_limit_s: float) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    grammars = Grammars(folder)
    _ = grammars.tokenizer  # outside of any grammar's time
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_REAL, time_limit_s)
        verdict = judge(msgspec.json.decode(line, type=Grammar), grammars)
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout.buffer.write(msgspec.json.encode(verdict) + b"\n")
        sys.stdout.buffer.flush()


def judge(grammar: Grammar, grammars: Grammars) -> Verdict:
    """Do with the grammar all that the engine will do before the first token."""
    try:
        text = translate(grammar)
        constraint = grammars.start(text, ())
        constraint.allowed((), grammars.tokenizer.vocab_size)
    except GrammarError as error:
        return Verdict(problem=str(error))
    return Verdict(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))

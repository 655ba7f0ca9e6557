"""The messages between the server and the process that tries grammars: a Grammar in, its Verdict out."""

from __future__ import annotations

import msgspec

from foveal.config import SchemaConfig
from foveal.types import Grammar
from foveal.workers.frames import Messages
from foveal.workers.jobs import MAX_SETTINGS_BYTES

MAX_GRAMMAR_BYTES = 1 << 20  # a request may bring 64 KiB, which grows when it is translated


class TrialSettings(msgspec.Struct, frozen=True):
    """What the process needs before the first grammar."""

    folder: str  # of the checkpoint
    time_limit_s: float  # for one grammar
    bounds: SchemaConfig


class Verdict(msgspec.Struct, frozen=True):
    """The grammar as the engine takes it, or why it cannot be used."""

    text: str = ""
    problem: str = ""


SETTINGS: Messages[TrialSettings] = Messages(TrialSettings, MAX_SETTINGS_BYTES)
GRAMMARS: Messages[Grammar] = Messages(Grammar, MAX_GRAMMAR_BYTES)
VERDICTS: Messages[Verdict] = Messages(Verdict, MAX_GRAMMAR_BYTES)

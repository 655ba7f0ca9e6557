"""What a child writes to stderr becomes records of the server's log: its records as they were, other lines as warnings.

So a child's lines have the server's format and stand above its progress bar. `speak` runs in the child, `relay` in the
server. A child that was taken over can write any text, and nothing but text.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, BinaryIO

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

MAX_LINE_BYTES = 1 << 16
_READ_BYTES = 1 << 14
_TRACEBACKS = logging.Formatter()


class Line(msgspec.Struct, frozen=True):
    """A record as it travels: an object on a line of its own."""

    level: int
    message: str
    traceback: str | None = None


# --- in the child -----------------------------------------------------------------------------------------------------


def speak() -> None:
    """Write all records, and what ends the process, as objects."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Objects())
    logging.basicConfig(handlers=[handler])
    logging.getLogger("foveal").setLevel("DEBUG")  # the server leaves out what it does not want
    sys.excepthook = _tell_of_the_end


class _Objects(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        traceback = self.formatException(record.exc_info) if record.exc_info else None
        return msgspec.json.encode(Line(record.levelno, record.getMessage(), traceback)).decode()


def _tell_of_the_end(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    logging.getLogger(__name__).error("it ended by an error of its own", exc_info=(kind, error, traceback))


# --- in the server ----------------------------------------------------------------------------------------------------


def relay(pipe: BinaryIO, name: str) -> None:
    """Log what a child writes until it ends, by the logger of that name."""
    logger = logging.getLogger(name)
    with pipe:
        for text in _lines(pipe.fileno()):
            line = _understood(text)
            if logger.isEnabledFor(line.level):
                record = logger.makeRecord(name, line.level, name, 0, line.message, (), None)
                record.exc_text = line.traceback
                logger.handle(record)


def _understood(text: bytes) -> Line:
    """A line of a library in C, or of Python itself, is no object."""
    try:
        line = msgspec.json.decode(text, type=Line)
    except (msgspec.DecodeError, RecursionError):
        return Line(logging.WARNING, text.decode("utf-8", "replace").rstrip())
    return msgspec.structs.replace(line, level=min(max(line.level, logging.DEBUG), logging.CRITICAL))


def _lines(fd: int) -> Iterator[bytes]:
    """Lines that are not empty, read without a lock that could outlive the interpreter."""
    rest = b""
    while read := os.read(fd, _READ_BYTES):
        *lines, rest = (rest + read).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        yield from filter(None, lines)
    if rest:
        yield rest

"""Writes the log to stderr: text for people, or an object a line for programs. One record is always one line.

Only an error of our own has a traceback, which in text follows its line, indented.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from foveal.config import LogConfig

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # what could begin a line, or command a terminal


def configure(config: LogConfig) -> None:
    """Write records from `config.level` on, as `config.format` says."""
    handler = Stderr()
    handler.setFormatter(Json() if config.format == "json" else Text())
    logging.basicConfig(level=config.level.upper(), handlers=[handler], force=True)
    for chatty in ("uvicorn", "httpx", "httpcore", "huggingface_hub", "asyncio"):
        logging.getLogger(chatty).setLevel("WARNING")


class Stderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is now. While a progress bar is drawn, that puts lines above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        return _printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        line, _, traceback = super().format(record).partition("\n")
        return "\n".join((line, *(f"  {_printable(each)}" for each in traceback.splitlines())))


class Json(logging.Formatter):
    """Records as objects. A record's `facts` are keys of their own."""

    def format(self, record: logging.LogRecord) -> str:
        facts = getattr(record, "facts", None)
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said = {"time": moment, "level": record.levelname.lower(), "logger": record.name}
        said |= {"message": record.getMessage()} if facts is None else {"message": "request", **facts}
        if traceback := record.exc_text or (record.exc_info and self.formatException(record.exc_info)):
            said["traceback"] = traceback
        return json.dumps(said)


def _printable(text: str) -> str:
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)

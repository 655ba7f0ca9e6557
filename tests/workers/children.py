"""What runs in the children of these tests. Each function is named by a Kind and called with the child's socket."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

import msgspec

from foveal.workers.frames import Messages, receive, send
from foveal.workers.jobs import READY, Ready, answer_jobs
from foveal.workers.limits import Limits

if TYPE_CHECKING:
    import socket

MIB = 1 << 20
LIMITS = Limits(memory_bytes=64 * MIB, max_num_files=16, max_file_bytes=0)
JOB_TIMEOUT_S = 0.5


class Settings(msgspec.Struct, frozen=True):
    prefix: str = ""


SETTINGS: Messages[Settings] = Messages(Settings, 1000)
WORDS: Messages[str] = Messages(str, 1000)


def echo(server: socket.socket) -> None:
    """Words come back with the prefix of the settings; some are commands."""
    prefix = receive(server, SETTINGS).prefix
    answer_jobs(server, WORDS, WORDS, lambda word: prefix + obey(word), LIMITS, JOB_TIMEOUT_S)


def obey(word: str) -> str:
    match word.split():
        case ["die", status]:
            os._exit(int(status))
        case ["hang"]:
            time.sleep(60)
        case ["grow"]:
            return str(len(bytearray(256 * MIB)))
        case ["grow", "less"]:
            return str(len(bytearray(8 * MIB)))
    return word


def babble(server: socket.socket) -> None:
    """Ready, and then nothing that the server understands."""
    send(server, READY.frame(Ready()))
    receive(server, SETTINGS)
    send(server, receive(server, WORDS).encode())
    time.sleep(60)


def hang_up(server: socket.socket) -> None:
    """Ready, and then no longer there to talk to, but not dead."""
    send(server, READY.frame(Ready()))
    receive(server, SETTINGS)
    server.close()
    time.sleep(60)


def complain(server: socket.socket) -> None:
    """A record, a record with a traceback, a line of a library in C, brackets, and an error that ends it."""
    log = logging.getLogger("foveal.tests")
    log.debug("a word")
    try:
        raise ValueError("a reason")
    except ValueError:
        log.warning("it went\nwrong", exc_info=True)
    os.write(2, b"a line of C\n")
    os.write(2, b'{"of": ' + b"[" * 5000 + b"\n")
    raise RuntimeError("the end")


def sleep(server: socket.socket) -> None:
    """Neither reads nor writes."""
    time.sleep(60)

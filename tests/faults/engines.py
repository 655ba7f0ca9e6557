"""Engine processes without a model or torch, which misbehave while they load. Each runs in a supervisor's child."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.engine.protocol import FROM_ENGINE, START, TO_ENGINE, Progress, Ready, StepDone, Submit
from foveal.types import EngineInfo, Token
from foveal.workers.frames import HungUp, receive, send

if TYPE_CHECKING:
    import socket

INFO = EngineInfo("none", "cpu", "float32", 1024, 8192, 16, num_blocks=4, kv_cache_bytes=1 << 10)
NUM_AT_ONCE = 4000  # tokens of `says_much`: more than the buffers between a server and its client hold


def never_loads(server: socket.socket) -> None:
    """Makes some progress, then none."""
    receive(server, START)
    send(server, FROM_ENGINE.frame(Progress(0.5)))
    time.sleep(3600)


def never_answers(server: socket.socket) -> None:
    """Is ready, then takes requests without a word."""
    receive(server, START)
    send(server, FROM_ENGINE.frame(Ready(INFO)))
    try:
        while True:
            receive(server, TO_ENGINE)
    except HungUp:
        return


def stops_at_its_second_start(server: socket.socket) -> None:
    """Answers each request with one token. The second process of a folder stops itself before it is ready."""
    starts = Path(receive(server, START).folder) / "starts"
    num_starts = len(starts.read_text()) if starts.exists() else 0
    starts.write_text("x" * (num_starts + 1))
    if num_starts == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    send(server, FROM_ENGINE.frame(Ready(INFO)))
    try:
        while True:
            message = receive(server, TO_ENGINE)
            if isinstance(message, Submit):
                send(server, FROM_ENGINE.frame(StepDone(((message.sequence_id, Token(7, "stop")),))))
    except HungUp:
        return


def says_a_word(server: socket.socket) -> None:
    """Answers each request with one token, which is not its last."""
    _answer_each(server, num_tokens=1)


def says_much(server: socket.socket) -> None:
    """Answers each request with many tokens at once, and no last one."""
    _answer_each(server, NUM_AT_ONCE)


def dies_for_good(server: socket.socket) -> None:
    """Answers five requests with one token each, and dies. Every other process of a folder dies before it is ready."""
    has_lived = Path(receive(server, START).folder) / "has_lived"
    if has_lived.exists():
        return
    has_lived.touch()
    _serve(server, num_tokens=1, num_requests=5)


def _answer_each(server: socket.socket, num_tokens: int) -> None:
    receive(server, START)
    _serve(server, num_tokens)


def _serve(server: socket.socket, num_tokens: int, num_requests: int = 1_000_000) -> None:
    send(server, FROM_ENGINE.frame(Ready(INFO)))
    try:
        while num_requests:
            message = receive(server, TO_ENGINE)
            if isinstance(message, Submit):
                send(server, FROM_ENGINE.frame(StepDone(((message.sequence_id, Token(7)),) * num_tokens)))
                num_requests -= 1
    except HungUp:
        return

"""A child that answers jobs, one at a time: it reports that it is ready, and answers until the connection is closed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from foveal.workers.frames import Messages, receive, send
from foveal.workers.limits import Limits, give_up

if TYPE_CHECKING:
    import socket

Job = TypeVar("Job")
Reply = TypeVar("Reply")

MAX_SETTINGS_BYTES = 1 << 16  # sent before the child reads, so they must fit into the socket's buffer


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The message of a child before its first job."""


READY: Messages[Ready] = Messages(Ready, max_bytes=64)


def answer_jobs(
    server: socket.socket,
    jobs: Messages[Job],
    replies: Messages[Reply],
    answer: Callable[[Job], Reply],
    limits: Limits,
    job_timeout_s: float,
) -> None:
    """Raises HungUp when the server closes the connection. A job that exceeds its time ends the process."""
    give_up(limits)
    send(server, READY.frame(Ready()))
    while True:
        job = receive(server, jobs)
        signal.setitimer(signal.ITIMER_REAL, job_timeout_s)  # after that time, SIGALRM ends the process
        reply = answer(job)
        signal.setitimer(signal.ITIMER_REAL, 0)
        send(server, replies.frame(reply))

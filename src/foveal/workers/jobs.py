"""A child that answers jobs, one at a time: it gets ready, says so, and answers until the server hangs up."""

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

MAX_SETTINGS_BYTES = 1 << 16  # they are sent before anybody reads, so they have to fit into the socket's buffer


class Ready(msgspec.Struct, frozen=True, tag=True):
    """What a child says before its first job."""


READY: Messages[Ready] = Messages(Ready, max_bytes=64)


def answer_jobs(
    server: socket.socket,
    jobs: Messages[Job],
    replies: Messages[Reply],
    answer: Callable[[Job], Reply],
    limits: Limits,
    job_timeout_s: float,
) -> None:
    """Raises HungUp when the server has. A job that takes longer ends the process, whether or not anybody waits."""
    give_up(limits)
    send(server, READY.frame(Ready()))
    while True:
        job = receive(server, jobs)
        signal.setitimer(signal.ITIMER_REAL, job_timeout_s)  # then SIGALRM ends us
        reply = answer(job)
        signal.setitimer(signal.ITIMER_REAL, 0)
        send(server, replies.frame(reply))

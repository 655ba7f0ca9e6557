"""An image worker: the process in which untrusted bytes are parsed. `python -m foveal.media.worker SETTINGS`.

It reads jobs from a socket, writes pixels into the arena, and ends when the socket does. Before the first job it gives
away what it will not need: memory beyond a limit, files, core dumps, new privileges. It knows no request, no network
and no secret, and each job has to end within its time, whether or not somebody is left to kill the process.
"""

from __future__ import annotations

import ctypes
import resource
import signal
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

import msgspec

from foveal.arena import PixelArena
from foveal.media.decode import decode, measure
from foveal.media.protocol import (
    LENGTH,
    Done,
    Job,
    Measure,
    Prepare,
    Ready,
    Refusal,
    Reply,
    WorkerSettings,
    decode_job,
    frame,
)
from foveal.media.refusal import DAMAGED, Refused
from foveal.models.family import Processor

_PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h
_MAX_FILES = 16
_ALARM_SLACK_S = 1.0  # the server's own limit comes first


def answer(job: Job, processor: Processor, arena: PixelArena, max_image_pixels: int) -> Reply:
    """Do one job. After a Prepare is Done, the pixels lie in the arena."""
    try:
        match job:
            case Measure(encoded):
                return Done(measure(encoded, max_image_pixels))
            case Prepare(encoded, layout, pixels):
                picture = decode(encoded, max_image_pixels)
                if picture.size != layout.size:
                    return Refusal(DAMAGED)
                arena.view(pixels)[...] = processor.prepare(picture, layout)
                return Done(layout.size)
    except Refused as refused:
        return Refusal(str(refused))
    except MemoryError:
        return Refusal("the picture needs too much memory to decode; scale it down or save it as PNG or JPEG")


def build_processor(factory: str, checkpoint: str) -> Processor:
    """Call "module:function" with the checkpoint's folder."""
    module, _, function = factory.partition(":")
    return cast("Callable[[str], Processor]", getattr(import_module(module), function))(checkpoint)


def main() -> None:
    settings = msgspec.json.decode(sys.argv[1], type=WorkerSettings)
    processor = build_processor(settings.processor_factory, settings.checkpoint)
    arena = PixelArena(settings.arena_fd, settings.arena_bytes)
    with socket.socket(fileno=settings.socket_fd) as server:
        _give_up_privileges(settings.job_memory_bytes)
        server.sendall(frame(Ready()))
        while (payload := _receive(server)) is not None:
            signal.setitimer(signal.ITIMER_REAL, settings.job_timeout_s + _ALARM_SLACK_S)  # then SIGALRM ends us
            reply = answer(decode_job(payload), processor, arena, settings.max_image_pixels)
            signal.setitimer(signal.ITIMER_REAL, 0)
            server.sendall(frame(reply))


def _give_up_privileges(job_memory_bytes: int) -> None:
    num_pages = int(Path("/proc/self/statm").read_text().split()[0])
    address_space = num_pages * resource.getpagesize() + job_memory_bytes
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for limit, value in (
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _MAX_FILES),
    ):
        resource.setrlimit(limit, (value, value))


def _receive(server: socket.socket) -> bytes | None:
    """The next message; None when the server is gone, however it went."""
    header = _read(server, LENGTH.size)
    return _read(server, LENGTH.unpack(header)[0]) if header else None


def _read(server: socket.socket, num_bytes: int) -> bytes | None:
    message = bytearray(num_bytes)
    rest = memoryview(message)
    while rest:
        try:
            received = server.recv_into(rest)
        except ConnectionError:
            received = 0
        if received == 0:
            return None
        rest = rest[received:]
    return bytes(message)


if __name__ == "__main__":
    main()

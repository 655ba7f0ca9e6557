"""The child process that looks host names up, each in a thread of its own. Knows nothing of addresses or images."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import msgspec

from foveal.workers.frames import Messages, receive, send
from foveal.workers.jobs import READY, Ready
from foveal.workers.limits import Limits, give_up

_MAX_NAME_BYTES = 1 << 12
_MAX_ANSWER_BYTES = 1 << 16
_MAX_ADDRESSES = 64  # of a name; a connection tries them one after the other
_STACK_BYTES = 1 << 19
_MEMORY_BYTES = 2 << 30  # of address space, most of it stacks and arenas that are never touched


class Lookup(msgspec.Struct, frozen=True):
    number: int
    host: str


class Found(msgspec.Struct, frozen=True):
    number: int
    addresses: tuple[str, ...]  # none: the name is unknown


LOOKUPS: Messages[Lookup] = Messages(Lookup, _MAX_NAME_BYTES)
FOUND: Messages[Found] = Messages(Found, _MAX_ANSWER_BYTES)


def addresses(host: str) -> tuple[str, ...]:
    """None where the name is unknown or is no name."""
    try:
        found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))[:_MAX_ADDRESSES]


def serve(server: socket.socket, find: Callable[[str], tuple[str, ...]] = addresses) -> None:
    """Answer lookups, those first that are found first, until the socket closes."""
    give_up(Limits(memory_bytes=_MEMORY_BYTES, max_file_bytes=0))
    threading.stack_size(_STACK_BYTES)
    turn = threading.Lock()
    send(server, READY.frame(Ready()))

    def look_up(lookup: Lookup) -> None:
        found = FOUND.frame(Found(lookup.number, find(lookup.host)))
        with turn:
            send(server, found)

    while True:
        threading.Thread(target=look_up, args=(receive(server, LOOKUPS),), daemon=True).start()

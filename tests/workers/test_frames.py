"""workers/frames.py: what goes into a frame comes out of it, whatever pieces it travels in, and nothing else does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import msgspec
import pytest

from foveal.workers.frames import HEADER_BYTES, FrameTooLarge, HungUp, Messages, receive, send

WORDS: Messages[str | int] = Messages(str | int, max_bytes=5000)
STREAM: list[str | int] = ["", 7, "a" * 4000, "b"]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("num_bytes", [1, 3, 7, 1000, 10_000])
def test_messages_are_found_in_pieces_of_any_size(ends: tuple[socket.socket, socket.socket], num_bytes: int) -> None:
    ours, theirs = ends
    stream = b"".join(WORDS.frame(message) for message in STREAM)

    def write() -> None:
        for i in range(0, len(stream), num_bytes):
            send(theirs, stream[i : i + num_bytes])

    writing = threading.Thread(target=write)
    writing.start()
    received = [receive(ours, WORDS) for _ in STREAM]
    writing.join()

    assert received == STREAM


def test_what_is_too_large_is_neither_sent_nor_taken_in(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    larger: Messages[str] = Messages(str, max_bytes=10_000)

    with pytest.raises(FrameTooLarge, match="5,003 bytes; the limit is 5,000"):
        WORDS.frame("a" * 5000)
    send(theirs, larger.frame("a" * 5000))
    with pytest.raises(FrameTooLarge):
        receive(ours, WORDS)


def test_what_is_nested_too_deep_is_no_message() -> None:
    class Known(msgspec.Struct):
        pass

    brackets = b"\x81\xa1x" + b"\x91" * 4000 + b"\xc0"  # in a field that nobody knows
    with pytest.raises(msgspec.DecodeError):
        Messages[Known](Known, max_bytes=5000).decode(brackets)


def test_other_types_do_not_come_out(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    anything: Messages[object] = Messages(object, max_bytes=100)

    send(theirs, anything.frame(["no", "word"]))
    with pytest.raises(msgspec.DecodeError):
        receive(ours, WORDS)


@pytest.mark.parametrize("num_bytes", [0, 1, HEADER_BYTES, HEADER_BYTES + 1])
def test_a_closed_socket_is_noticed_also_within_a_frame(
    ends: tuple[socket.socket, socket.socket], num_bytes: int
) -> None:
    ours, theirs = ends
    send(theirs, WORDS.frame("word")[:num_bytes])
    theirs.close()

    with pytest.raises(HungUp):
        receive(ours, WORDS)
    with pytest.raises(HungUp):
        send(ours, WORDS.frame("word"))

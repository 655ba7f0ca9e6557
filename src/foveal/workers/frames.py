"""The format of messages between a process and its child: MessagePack, each message after its length. No pickle.

A frame is a length (4 bytes, little endian) and that many bytes. For each direction, `Messages` gives the types that a
frame may hold and the largest size. Knows no message types of its own.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    import socket

T = TypeVar("T")

_LENGTH = struct.Struct("<I")
HEADER_BYTES = _LENGTH.size

_encode = msgspec.msgpack.Encoder().encode


class FrameTooLarge(msgspec.DecodeError):
    """A frame is larger than its direction allows: a bug, or a process that violates the protocol."""


class HungUp(EOFError):
    """The other end of the connection is closed."""


class Messages(Generic[T]):
    """The messages of one direction: `types` is a type or a union of types, `max_bytes` the limit of a message."""

    def __init__(self, types: Any, max_bytes: int) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(types)
        self.max_bytes = max_bytes

    def frame(self, message: T) -> bytes:
        """The message as a frame. Raises FrameTooLarge."""
        payload = _encode(message)
        self._check(len(payload))
        return _LENGTH.pack(len(payload)) + payload

    def num_bytes(self, header: bytes | bytearray) -> int:
        """The size of the message after a header. Raises FrameTooLarge."""
        num_bytes: int = _LENGTH.unpack(header)[0]
        self._check(num_bytes)
        return num_bytes

    def decode(self, payload: bytes | bytearray) -> T:
        """Raises msgspec.DecodeError for anything that is no message of this direction."""
        try:
            return self._decoder.decode(payload)
        except RecursionError as error:
            raise msgspec.DecodeError(str(error)) from None

    def _check(self, num_bytes: int) -> None:
        if num_bytes > self.max_bytes:
            raise FrameTooLarge(f"a message of {num_bytes:,} bytes; the limit is {self.max_bytes:,}")


def send(connection: socket.socket, frame: bytes) -> None:
    """Blocks until the frame is sent. Raises HungUp."""
    try:
        connection.sendall(frame)
    except ConnectionError:
        raise HungUp from None


def receive(connection: socket.socket, messages: Messages[T]) -> T:
    """Blocks until the next message arrives. Raises HungUp, and msgspec.DecodeError for a malformed message."""
    header = _read(connection, HEADER_BYTES)
    return messages.decode(_read(connection, messages.num_bytes(header)))


def _read(connection: socket.socket, num_bytes: int) -> bytearray:
    message = bytearray(num_bytes)
    rest = memoryview(message)
    while rest:
        try:
            received = connection.recv_into(rest)
        except ConnectionError:
            received = 0
        if received == 0:
            raise HungUp
        rest = rest[received:]
    return message

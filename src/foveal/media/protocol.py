"""What the server and an image worker say to each other: MessagePack frames over a socket pair, no pickle.

A job is answered by one reply; before its first job a worker says that it is ready. The server trusts no reply further
than its type: the layout of an image is computed by the server, from nothing but the size.
"""

from __future__ import annotations

import struct

import msgspec

from foveal.types import ImageLayout, PixelRef, Size

LENGTH = struct.Struct(">I")  # before each message, in bytes
MAX_REPLY_BYTES = 1 << 16


class WorkerSettings(msgspec.Struct, frozen=True):
    """How a worker is started; the first argument of its command line, in JSON."""

    socket_fd: int
    arena_fd: int
    arena_bytes: int
    processor_factory: str  # "module:function"
    checkpoint: str  # its argument
    max_image_pixels: int
    job_timeout_s: float
    job_memory_bytes: int  # address space beyond what the idle worker has


class Measure(msgspec.Struct, frozen=True, tag=True):
    encoded: bytes


class Prepare(msgspec.Struct, frozen=True, tag=True):
    encoded: bytes
    layout: ImageLayout
    pixels: PixelRef  # where to write


class Ready(msgspec.Struct, frozen=True, tag=True):
    pass


class Done(msgspec.Struct, frozen=True, tag=True):
    size: Size  # of the decoded picture


class Refusal(msgspec.Struct, frozen=True, tag=True):
    sentence: str


Job = Measure | Prepare
Reply = Done | Refusal

_encoder = msgspec.msgpack.Encoder()
_jobs: msgspec.msgpack.Decoder[Job] = msgspec.msgpack.Decoder(Job)
_replies: msgspec.msgpack.Decoder[Ready | Reply] = msgspec.msgpack.Decoder(Ready | Reply)


def frame(message: Job | Ready | Reply) -> bytes:
    payload = _encoder.encode(message)
    return LENGTH.pack(len(payload)) + payload


def decode_job(payload: bytes) -> Job:
    return _jobs.decode(payload)


def decode_reply(payload: bytes) -> Ready | Reply:
    """Raises msgspec.DecodeError for anything that is not a reply."""
    return _replies.decode(payload)

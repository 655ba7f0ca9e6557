"""What the server and an image worker say to each other.

A job is answered by one reply. The server trusts no reply further
than its type: the layout of an image is computed by the server, from nothing but the size.
"""

from __future__ import annotations

import msgspec

from foveal.types import ImageLayout, PixelRef, Size
from foveal.workers.frames import Messages
from foveal.workers.jobs import MAX_SETTINGS_BYTES

MAX_REPLY_BYTES = 1 << 16
_MAX_PLACE_BYTES = 1 << 12  # all of a job but the encoded image


class WorkerSettings(msgspec.Struct, frozen=True):
    """What a worker has to know before its first job."""

    arena_fd: int
    arena_bytes: int
    processor_factory: str  # "module:function"
    checkpoint: str  # its argument
    max_image_bytes: int
    max_image_pixels: int
    job_timeout_s: float
    job_memory_bytes: int  # address space beyond what the idle worker has


class Measure(msgspec.Struct, frozen=True, tag=True):
    encoded: bytes


class Prepare(msgspec.Struct, frozen=True, tag=True):
    encoded: bytes
    layout: ImageLayout
    pixels: PixelRef  # where to write


class Done(msgspec.Struct, frozen=True, tag=True):
    size: Size  # of the decoded picture


class Refusal(msgspec.Struct, frozen=True, tag=True):
    sentence: str


Job = Measure | Prepare
Reply = Done | Refusal

SETTINGS: Messages[WorkerSettings] = Messages(WorkerSettings, MAX_SETTINGS_BYTES)
REPLIES: Messages[Reply] = Messages(Reply, MAX_REPLY_BYTES)


def jobs(max_image_bytes: int) -> Messages[Job]:
    """The jobs with encoded images of at most that size."""
    return Messages(Job, max_image_bytes + _MAX_PLACE_BYTES)

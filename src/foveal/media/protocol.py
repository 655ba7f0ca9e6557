"""The messages between the server and an image worker.

Each job gets one reply. The server takes only a size or a fixed sentence from a reply, and computes an image's layout
itself.
"""

from __future__ import annotations

import msgspec

from foveal.types import ImageLayout, PixelRef, Size
from foveal.workers.frames import Messages
from foveal.workers.jobs import MAX_SETTINGS_BYTES

MAX_REPLY_BYTES = 1 << 16
_MAX_PLACE_BYTES = 1 << 16  # all of a job but the encoded image


class WorkerSettings(msgspec.Struct, frozen=True):
    """What a worker needs before its first job."""

    arena_fd: int
    arena_bytes: int
    processor_factory: str  # "module:function"
    checkpoint: str  # its argument
    max_image_bytes: int
    max_image_pixels: int
    job_timeout_s: float
    job_memory_bytes: int  # address space above that of the idle worker


class Measure(msgspec.Struct, frozen=True, tag=True):
    encoded: bytes


class Prepare(msgspec.Struct, frozen=True, tag=True):
    encoded: bytes
    layout: ImageLayout
    pixels: PixelRef  # where to write


class Measured(msgspec.Struct, frozen=True, tag=True):
    size: Size  # that the decoded image will have
    cost_s: float  # what decoding will take, as the header tells


class Done(msgspec.Struct, frozen=True, tag=True):
    size: Size  # of the decoded image


class Refusal(msgspec.Struct, frozen=True, tag=True):
    sentence: str


Job = Measure | Prepare
Reply = Measured | Done | Refusal

SETTINGS: Messages[WorkerSettings] = Messages(WorkerSettings, MAX_SETTINGS_BYTES)
REPLIES: Messages[Reply] = Messages(Reply, MAX_REPLY_BYTES)


def jobs(max_image_bytes: int) -> Messages[Job]:
    """The messages for jobs whose encoded images have at most this size."""
    return Messages(Job, max_image_bytes + _MAX_PLACE_BYTES)

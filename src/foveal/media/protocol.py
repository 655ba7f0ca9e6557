"""The messages between the server and an image worker.

Each job gets one reply. The server takes only a size or a fixed sentence from a reply, and computes an image's layout
itself.
"""

from __future__ import annotations

import msgspec

from foveal.types import ImageLayout, Page, PixelRef, Size
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
    max_encoded_bytes: int  # of an image or a file
    max_image_pixels: int
    job_timeout_s: float
    job_memory_bytes: int  # address space above that of the idle worker


class CountPages(msgspec.Struct, frozen=True, tag=True):
    encoded: bytes  # a PDF


class Measure(msgspec.Struct, frozen=True, tag=True):
    encoded: bytes
    page: Page | None = None  # of a PDF


class Prepare(msgspec.Struct, frozen=True, tag=True):
    encoded: bytes
    layout: ImageLayout
    pixels: PixelRef  # where to write
    page: Page | None = None


class Pages(msgspec.Struct, frozen=True, tag=True):
    num_pages: int


class Measured(msgspec.Struct, frozen=True, tag=True):
    size: Size  # that the decoded image will have
    cost_s: float  # what decoding will take, as the header tells
    is_plain: bool = False  # an opaque, upright PNG or JPEG, which other servers show as this one does


class Done(msgspec.Struct, frozen=True, tag=True):
    size: Size  # of the decoded image


class Refusal(msgspec.Struct, frozen=True, tag=True):
    sentence: str


Job = CountPages | Measure | Prepare
Reply = Pages | Measured | Done | Refusal

SETTINGS: Messages[WorkerSettings] = Messages(WorkerSettings, MAX_SETTINGS_BYTES)
REPLIES: Messages[Reply] = Messages(Reply, MAX_REPLY_BYTES)


def jobs(max_encoded_bytes: int) -> Messages[Job]:
    """The messages for jobs whose encoded images and files have at most this size."""
    return Messages(Job, max_encoded_bytes + _MAX_PLACE_BYTES)

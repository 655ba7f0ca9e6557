"""An image worker: the process that parses untrusted bytes. `serve` runs in it; `answer` may also run in the server.

It reads jobs from a socket, writes pixels into the arena, and ends when the socket closes. Before the first job it
limits itself: memory, files, core dumps, privileges. It knows no request, no network and no secret. An alarm ends a job
that takes too long, even if the server is gone.
"""

from __future__ import annotations

import pkgutil
import socket
import warnings

from foveal.arena import PixelArena
from foveal.media import pdf
from foveal.media.cost import decode_cost_s
from foveal.media.decode import decode, is_plain, measure
from foveal.media.protocol import (
    REPLIES,
    SETTINGS,
    CountPages,
    Done,
    Job,
    Measure,
    Measured,
    Pages,
    Prepare,
    Refusal,
    Reply,
    jobs,
)
from foveal.media.refusal import DAMAGED, Refused
from foveal.models.family import InvalidImageSize, Processor
from foveal.workers.frames import receive
from foveal.workers.jobs import answer_jobs
from foveal.workers.limits import Limits

_MAX_NUM_FILES = 16
_ALARM_SLACK_S = 1.0  # the server's own limit comes first


def answer(job: Job, processor: Processor, arena: PixelArena, max_image_pixels: int) -> Reply:
    """Do one job. After a Prepare is Done, the pixels are in the arena."""
    try:
        match job:
            case CountPages(encoded):
                return Pages(pdf.count_pages(encoded))
            case Measure(encoded, page):
                size = measure(encoded, max_image_pixels) if page is None else pdf.measure(encoded, page)
                return Measured(size, decode_cost_s(size, encoded), page is None and is_plain(encoded))
            case Prepare(encoded, layout, pixels, page):
                picture = decode(encoded, max_image_pixels) if page is None else pdf.draw(encoded, page)
                if picture.size != layout.size:
                    return Refusal(DAMAGED)
                arena.view(pixels)[...] = processor.prepare(picture, layout)
                return Done(layout.size)
    except Refused as refused:
        return Refusal(str(refused))
    except InvalidImageSize as error:
        return Refusal(str(error))
    except MemoryError:
        return Refusal("the picture needs too much memory to decode; scale it down or save it as PNG or JPEG")


def build_processor(factory: str, checkpoint: str) -> Processor:
    """Call "module:function" with the checkpoint's folder."""
    processor: Processor = pkgutil.resolve_name(factory)(checkpoint)
    return processor


def serve(server: socket.socket) -> None:
    """Answer the server's jobs until the socket closes."""
    warnings.simplefilter("ignore")  # a library's warnings about an untrusted image are of no use
    settings = receive(server, SETTINGS)
    processor = build_processor(settings.processor_factory, settings.checkpoint)
    arena = PixelArena(settings.arena_fd, settings.arena_bytes)
    limits = Limits(memory_bytes=settings.job_memory_bytes, max_num_files=_MAX_NUM_FILES, max_file_bytes=0)

    def reply_to(job: Job) -> Reply:
        return answer(job, processor, arena, settings.max_image_pixels)

    job_timeout_s = settings.job_timeout_s + _ALARM_SLACK_S
    answer_jobs(server, jobs(settings.max_encoded_bytes), REPLIES, reply_to, limits, job_timeout_s)

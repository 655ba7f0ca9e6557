"""The messages between the server and an image worker."""

from __future__ import annotations

import msgspec
import pytest

from foveal.media.protocol import REPLIES, Done, Job, Measure, Prepare, Refusal, Reply, jobs
from foveal.types import ImageLayout, PixelRef, Size
from foveal.workers.frames import HEADER_BYTES, FrameTooLarge

JOBS = jobs(max_encoded_bytes=1000)
LAYOUT = ImageLayout(Size(3, 2), (2, 3, 3), grid=(1, 1), num_crops=1, num_tokens=4)


@pytest.mark.parametrize("job", [Measure(b"\x00\xff"), Prepare(b"\x00\xff", LAYOUT, PixelRef(64, (2, 3, 3)))])
def test_jobs(job: Job) -> None:
    frame = JOBS.frame(job)

    assert JOBS.num_bytes(frame[:HEADER_BYTES]) == len(frame) - HEADER_BYTES
    assert JOBS.decode(frame[HEADER_BYTES:]) == job


def test_a_job_has_room_for_the_largest_image_and_not_for_two() -> None:
    assert JOBS.frame(Prepare(bytes(1000), LAYOUT, PixelRef(2**40, (2, 3, 3))))
    with pytest.raises(FrameTooLarge):
        jobs(100_000).frame(Measure(bytes(200_000)))


@pytest.mark.parametrize("reply", [Done(Size(3, 2)), Refusal("no")])
def test_replies(reply: Reply) -> None:
    assert REPLIES.decode(REPLIES.frame(reply)[HEADER_BYTES:]) == reply


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"\x80", JOBS.frame(Measure(b""))[HEADER_BYTES:], msgspec.msgpack.encode({"type": "Done"})],
)
def test_what_is_no_reply(payload: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        REPLIES.decode(payload)


def test_a_reply_is_small() -> None:
    with pytest.raises(FrameTooLarge):
        REPLIES.num_bytes((1 << 17).to_bytes(HEADER_BYTES, "little"))

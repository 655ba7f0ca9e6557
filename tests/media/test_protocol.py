"""What crosses the border between the server and an image worker."""

from __future__ import annotations

import msgspec
import pytest

from foveal.media.protocol import (
    LENGTH,
    Done,
    Job,
    Measure,
    Prepare,
    Ready,
    Refusal,
    Reply,
    decode_job,
    decode_reply,
    frame,
)
from foveal.types import ImageLayout, PixelRef, Size

LAYOUT = ImageLayout(Size(3, 2), (2, 3, 3), grid=(1, 1), num_crops=1, num_tokens=4)


@pytest.mark.parametrize("job", [Measure(b"\x00\xff"), Prepare(b"\x00\xff", LAYOUT, PixelRef(64, (2, 3, 3)))])
def test_jobs(job: Job) -> None:
    message = frame(job)

    assert LENGTH.unpack(message[:4]) == (len(message) - 4,)
    assert decode_job(message[4:]) == job


@pytest.mark.parametrize("reply", [Ready(), Done(Size(3, 2)), Refusal("no")])
def test_replies(reply: Ready | Reply) -> None:
    assert decode_reply(frame(reply)[4:]) == reply


@pytest.mark.parametrize(
    "payload", [b"", b"\xff", b"\x80", frame(Measure(b""))[4:], msgspec.msgpack.encode({"type": "Done"})]
)
def test_what_is_no_reply(payload: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_reply(payload)

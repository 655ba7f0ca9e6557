"""A request's whole way as spans: a real server, which sends the last ones when it stops, and a receiver of OTLP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.contract.pictures import drawing
from tests.contract.serve import MODEL, serving
from tests.http.receiver import receiving
from tests.media.builders import encode
from tests.media.host import Page
from tests.media.host import serving as hosting

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.receiver import Receiver

STAGES = ["fetch", "decode image", "queue", "encode", "prefill", "decode"]


@pytest.mark.slow
def test_the_stages_of_an_answer_about_a_picture_behind_a_url(tmp_path: Path) -> None:
    async def ask(receiver: Receiver) -> None:
        settings = {"FOVEAL_TRACES_ENDPOINT": receiver.url, "FOVEAL_IMAGES_ALLOWED_HOSTS": "127.0.0.1"}
        with serving(tmp_path / "log", **settings, FOVEAL_IMAGES_FETCH_TIMEOUT_S="60") as served:
            async with hosting({"/a.png": Page(encode(drawing()))}) as host:
                image = {"type": "image_url", "image_url": {"url": host.url("/a.png")}}
                question = {"type": "text", "text": "What colour is the circle?"}
                body = {"model": MODEL, "messages": [{"role": "user", "content": [image, question]}]}
                answer = await asyncio.to_thread(served.post, "/v1/chat/completions", body)
            assert answer.status_code == 200

    with receiving() as receiver:
        asyncio.run(ask(receiver))
        answer = receiver.named(f"chat {MODEL}")
        stages = [receiver.named(name) for name in STAGES]
        assert sorted(each.name for each in receiver.below(answer)) == sorted(STAGES)
        assert all(answer.started_ns <= each.started_ns <= each.ended_ns <= answer.ended_ns for each in stages)
        starts = [each.started_ns for each in stages]
        assert starts == sorted(starts)

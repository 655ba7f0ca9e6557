"""engine/protocol.py: what goes into a frame comes out of it, whatever pieces it travels in."""

from __future__ import annotations

import msgspec
import pytest

from foveal.config import EngineConfig
from foveal.engine.protocol import (
    Abort,
    Close,
    Frames,
    FromEngine,
    LoadFailed,
    Progress,
    Ready,
    Start,
    StepDone,
    StepStarted,
    Submit,
    ToEngine,
    decode_from_engine,
    decode_to_engine,
    frame,
)
from foveal.types import (
    EngineInfo,
    EngineStats,
    Image,
    ImageLayout,
    ImageSpan,
    PixelRef,
    Prompt,
    PromptImage,
    PromptLogprob,
    SamplingParams,
    Size,
    Token,
    TopLogprob,
)

IMAGE = Image(bytes(range(32)), PixelRef(4096, (28, 56, 3)), ImageLayout(Size(50, 20), (28, 56, 3), (1, 2), 3, 19))
PROMPT = Prompt((1, 2, *[0] * 19, 3), (PromptImage(IMAGE, (ImageSpan(2, 10), ImageSpan(12, 9))),), b"salt")
TO_ENGINE: list[ToEngine] = [
    Start("/models/m", EngineConfig(num_threads=2), 7, 4096),
    Submit(3, PROMPT, SamplingParams(logit_bias=((5, -1.5),), seed=2**63, stop_token_ids=(2,)), (9, 8), 16),
    Abort(3),
    Close(),
]
FROM_ENGINE: list[FromEngine] = [
    Progress(0.5),
    Ready(EngineInfo("phi3_v", "cpu", "bfloat16", 32064, 4096, 16, 100, 1 << 20)),
    LoadFailed("there is no config.json", is_setting=False),
    StepStarted((1, 2)),
    StepDone(((1, Token(7, "stop", -0.5, (TopLogprob(7, -0.5),), 16)),), ((2, "why"),), (3,), EngineStats(1, 2, 3)),
    StepDone(((1, Token(7, prompt_logprobs=(PromptLogprob(None), PromptLogprob(-1.0, (TopLogprob(7, -0.5),))))),)),
]


@pytest.mark.parametrize("message", TO_ENGINE, ids=lambda message: type(message).__name__)
def test_messages_to_the_engine_arrive_as_they_were_sent(message: ToEngine) -> None:
    [payload] = Frames().feed(frame(message))

    assert decode_to_engine(payload) == message


@pytest.mark.parametrize("message", FROM_ENGINE, ids=lambda message: type(message).__name__)
def test_messages_from_the_engine_arrive_as_they_were_sent(message: FromEngine) -> None:
    [payload] = Frames().feed(frame(message))

    assert decode_from_engine(payload) == message


@pytest.mark.parametrize("num_bytes", [1, 3, 7, 1000])
def test_frames_are_found_in_pieces_of_any_size(num_bytes: int) -> None:
    stream = b"".join(frame(message) for message in TO_ENGINE)
    frames = Frames()

    payloads = [payload for i in range(0, len(stream), num_bytes) for payload in frames.feed(stream[i : i + num_bytes])]

    assert [decode_to_engine(payload) for payload in payloads] == TO_ENGINE


def test_nothing_but_the_types_of_its_direction_comes_out_of_a_frame() -> None:
    [payload] = Frames().feed(frame(Progress(0.5)))

    with pytest.raises(msgspec.ValidationError):
        decode_to_engine(payload)

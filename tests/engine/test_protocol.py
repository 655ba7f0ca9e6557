"""engine/protocol.py: messages to and from an engine arrive as they were sent."""

from __future__ import annotations

import msgspec
import pytest

from foveal.config import EngineConfig
from foveal.engine.protocol import (
    FROM_ENGINE,
    START,
    TO_ENGINE,
    Abort,
    Close,
    Encoding,
    FromEngine,
    LoadFailed,
    Progress,
    Ready,
    Start,
    StepDone,
    StepStarted,
    Submit,
    ToEngine,
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
from foveal.workers.frames import HEADER_BYTES

IMAGE = Image(bytes(range(32)), PixelRef(4096, (28, 56, 3)), ImageLayout(Size(50, 20), (28, 56, 3), (1, 2), 3, 19))
PROMPT = Prompt((1, 2, *[0] * 19, 3), (PromptImage(IMAGE, (ImageSpan(2, 10), ImageSpan(12, 9))),), b"salt")
SENT: list[ToEngine] = [
    Submit(3, PROMPT, SamplingParams(logit_bias=((5, -1.5),), seed=2**63, stop_token_ids=(2,)), (9, 8), 16),
    Abort(3),
    Close(),
]
TOLD: list[FromEngine] = [
    Progress(0.5),
    Ready(EngineInfo("phi3_v", "cpu", "bfloat16", 32064, 4096, 16, 100, 1 << 20)),
    LoadFailed("there is no config.json", is_setting=False),
    StepStarted((1, 2)),
    StepDone(((1, Token(7, "stop", -0.5, (TopLogprob(7, -0.5),), 16)),), ((2, "why"),), (3,), EngineStats(1, 2, 3)),
    StepDone(encoded=(Encoding(1, 0.25, 0.5),)),
    StepDone(((1, Token(7, prompt_logprobs=(PromptLogprob(None), PromptLogprob(-1.0, (TopLogprob(7, -0.5),))))),)),
]


def test_how_an_engine_is_started() -> None:
    start = Start("/models/m", EngineConfig(num_threads=2), 7, 4096)

    assert START.decode(START.frame(start)[HEADER_BYTES:]) == start


@pytest.mark.parametrize("message", SENT, ids=lambda message: type(message).__name__)
def test_messages_to_the_engine_arrive_as_they_were_sent(message: ToEngine) -> None:
    assert TO_ENGINE.decode(TO_ENGINE.frame(message)[HEADER_BYTES:]) == message


@pytest.mark.parametrize("message", TOLD, ids=lambda message: type(message).__name__)
def test_messages_from_the_engine_arrive_as_they_were_sent(message: FromEngine) -> None:
    assert FROM_ENGINE.decode(FROM_ENGINE.frame(message)[HEADER_BYTES:]) == message


def test_the_longest_prompts_fit() -> None:
    token_ids = tuple(range(200_000, 500_000))
    top = tuple(TopLogprob(token_id, -token_id / 3) for token_id in token_ids[:20])
    logprobs = (PromptLogprob(-1 / 3, top),) * 300_000

    assert len(TO_ENGINE.frame(Submit(1, Prompt(token_ids), SamplingParams(), token_ids))) < 4_000_000
    assert len(FROM_ENGINE.frame(StepDone(((1, Token(7, prompt_logprobs=logprobs)),)))) < 100_000_000


def test_nothing_but_the_types_of_its_direction_is_decoded() -> None:
    with pytest.raises(msgspec.ValidationError):
        TO_ENGINE.decode(FROM_ENGINE.frame(Progress(0.5))[HEADER_BYTES:])

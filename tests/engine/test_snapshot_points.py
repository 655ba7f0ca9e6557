"""engine/snapshot_points.py: where in a prompt, and behind it, states are worth keeping. Blocks of 16 tokens."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from foveal.engine.sequence import Sequence
from foveal.engine.snapshot_points import snapshot_points
from foveal.layers.step import Positions
from foveal.types import Image, ImageLayout, ImageSpan, PixelRef, Prompt, PromptImage, SamplingParams, Size

END = 2


def sequence_of(num_tokens: int, ends: tuple[int, ...] = (), images: tuple[tuple[int, int], ...] = ()) -> Sequence:
    """A prompt whose turns end with the tokens at `ends`, with images of these offsets and lengths."""
    image = Image(b"", PixelRef(0, (1,)), ImageLayout(Size(1, 1), (1,), (), 1, 1))
    token_ids = [END if at in ends else 5 for at in range(num_tokens)]
    prompt = Prompt(tuple(token_ids), tuple(PromptImage(image, (ImageSpan(*span),)) for span in images))
    sampling = SamplingParams(stop_token_ids=(END,))
    return Sequence(1, prompt, sampling, Positions(np.zeros((1, num_tokens), np.int64)), 9999, token_ids)


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        pytest.param(sequence_of(10), [], id="less than a block"),
        pytest.param(sequence_of(100), [6], id="the prompt's end"),
        pytest.param(sequence_of(96), [5, 6], id="for the same prompt, and for a longer one"),
        pytest.param(sequence_of(700, images=((30, 600),)), [39, 43], id="an image's end"),
        pytest.param(sequence_of(700, images=((30, 600), (632, 20))), [39, 40, 43], id="images near to one another"),
        pytest.param(sequence_of(700, ends=(600,)), [37, 43], id="the last turn's end"),
        pytest.param(sequence_of(700, ends=(200, 300, 600)), [12, 37, 43], id="of earlier turns those that lie apart"),
        pytest.param(sequence_of(3000), [64, 128, 187], id="a long stretch is divided"),
        pytest.param(sequence_of(3000, ends=(1100,)), [68, 128, 187], id="not near to another point"),
    ],
)
def test_the_points_of_a_prompt(sequence: Sequence, expected: list[int]) -> None:
    assert snapshot_points(sequence, 0, sequence.num_prompt_tokens, 16) == expected


def test_a_chunk_has_the_points_after_its_start_up_to_its_end() -> None:
    sequence = sequence_of(3000)

    cuts = [0, 1023, 1024, 1025, 2048, 2990, 3000]

    found = [snapshot_points(sequence, start, stop, 16) for start, stop in pairwise(cuts)]
    assert found == [[], [64], [], [128], [], [187]]


def test_behind_the_prompt_each_whole_block_is_one() -> None:
    sequence = sequence_of(20)

    assert [stop for stop in range(21, 70) if snapshot_points(sequence, stop - 1, stop, 16)] == [32, 48, 64]


def test_of_a_long_chunk_behind_the_prompt_the_last_block_counts() -> None:
    """After a preemption a prompt and its answer are computed together."""
    assert snapshot_points(sequence_of(100), 0, 170, 16) == [6, 10]

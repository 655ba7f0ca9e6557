"""engine/sequence.py: where images stand in a sequence, and when it ends."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.engine.sequence import Sequence
from foveal.layers.step import Positions
from foveal.types import Image, ImageLayout, ImageSpan, PixelRef, Prompt, PromptImage, SamplingParams, Size


def sequence_of(*images: tuple[bytes, list[tuple[int, int]]], **sampling: object) -> Sequence:
    """A sequence with images given as (hash, spans)."""
    num_tokens, layout = 20, ImageLayout(Size(1, 1), (1,), (), 1, 1)
    placed = tuple(
        PromptImage(Image(digest, PixelRef(0, (1,)), layout), tuple(ImageSpan(*span) for span in spans))
        for digest, spans in images
    )
    params = SamplingParams(**sampling)  # type: ignore[arg-type]  # a table of fields
    prompt = Prompt(tuple(range(num_tokens)), placed)
    positions = Positions(np.zeros((1, num_tokens), np.int64))
    return Sequence(1, prompt, params, positions, num_tokens + params.max_tokens, list(prompt.token_ids))


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, 2, []),
        (0, 3, [(2, 0, b"a")]),
        (4, 6, [(2, 0, b"a")]),
        (5, 6, []),
        (4, 8, [(2, 0, b"a"), (7, 3, b"a")]),
        (8, 20, [(7, 3, b"a"), (9, 0, b"b")]),
        (12, 20, []),
    ],
)
def test_the_spans_that_a_stretch_touches(start: int, stop: int, expected: list[tuple[int, int, bytes]]) -> None:
    sequence = sequence_of((b"a", [(2, 3), (7, 2)]), (b"b", [(9, 3)]))

    found = sequence.spans_within(start, stop)

    assert [(source.span.offset, source.first_row, source.image_hash) for source in found] == expected


def test_where_the_images_end() -> None:
    assert sequence_of((b"a", [(2, 3)]), (b"b", [(9, 3)])).images_end == 12
    assert sequence_of().images_end == 0


@pytest.mark.parametrize(
    ("sampling", "tokens", "expected"),
    [
        pytest.param({"max_tokens": 3}, [7, 7, 7], [None, None, "length"], id="length"),
        pytest.param({"stop_token_ids": (9,)}, [7, 9], [None, "stop"], id="stop"),
        pytest.param({"stop_token_ids": (9,), "max_tokens": 2}, [7, 9], [None, "stop"], id="stop at the length"),
        pytest.param({"stop_token_ids": (9,), "ignore_eos": True}, [7, 9], [None, None], id="ignored"),
        pytest.param({"stop_token_ids": (9,), "min_tokens": 1}, [9, 9], [None, "stop"], id="too early"),
    ],
)
def test_when_a_sequence_ends(sampling: dict[str, object], tokens: list[int], expected: list[str | None]) -> None:
    sequence = sequence_of(**sampling)

    assert [sequence.append(token_id) for token_id in tokens] == expected
    assert sequence.num_output_tokens == len(tokens)

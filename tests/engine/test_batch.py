"""engine/batch.py: chunks as the model's rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foveal.arena import PixelArena
from foveal.engine.batch import build_batch, positions_of
from foveal.engine.encoder_cache import EncoderCache
from foveal.engine.scheduler import Chunk
from foveal.engine.sequence import Sequence
from foveal.layers.step import Positions
from foveal.models.family import ImageTraits
from foveal.types import Prompt, SamplingParams
from tests.engine.toy import picture, prompt_of

CPU = torch.device("cpu")


def sequence_of(sequence_id: int, prompt: Prompt, block_table: list[int]) -> Sequence:
    positions = Positions(np.arange(len(prompt.token_ids))[np.newaxis] * 10, delta=3)
    sequence = Sequence(sequence_id, prompt, SamplingParams(), positions, 99, [*prompt.token_ids, 7, 8])
    sequence.block_table = block_table
    return sequence


def test_chunks_become_rows() -> None:
    text, decoding = sequence_of(1, prompt_of(1, 2, 3, 4, 5), [6, 2]), sequence_of(2, prompt_of(5, 6), [3])

    batch = build_batch([Chunk(text, 1, 6), Chunk(decoding, 3, 4)], EncoderCache(0), 4, ImageTraits(), CPU)

    assert batch.token_ids_T.tolist() == [2, 3, 4, 5, 7, 8]
    assert batch.positions_RT.tolist() == [[10, 20, 30, 40, 8, 6]]
    assert batch.attention.slot_mapping == [25, 26, 27, 8, 9, 15]
    assert batch.attention.query_start_loc == [0, 5, 6]
    assert batch.attention.seq_lens == [6, 4]
    assert batch.attention.block_tables == [[6, 2], [3]]
    assert [(piece.row, piece.num_tokens, piece.start) for piece in batch.slices] == [(0, 5, 1), (5, 1, 3)]


@pytest.mark.parametrize(
    ("start", "stop", "rereads_images", "expected"),
    [
        pytest.param(0, 2, False, [None, None], id="before both"),
        pytest.param(0, 3, False, [1.0, None], id="into the first"),
        pytest.param(4, 9, False, [1.0, 2.0], id="across both"),
        pytest.param(6, 9, False, [None, 2.0], id="past the first"),
        pytest.param(11, 12, False, [], id="past both"),
        pytest.param(11, 12, True, [1.0, 2.0], id="past both, read again"),
        pytest.param(0, 3, True, [1.0, None], id="read again up to here"),
    ],
)
def test_a_chunk_brings_the_features_that_it_reads(
    start: int, stop: int, rereads_images: bool, expected: list[float | None]
) -> None:
    arena, cache = PixelArena.create(1 << 12), EncoderCache(1000)
    sequence = sequence_of(1, prompt_of(1, 2, picture(arena, 1), 3, picture(arena, 2, num_tokens=3), 4), [0, 1, 2])
    for index, value in enumerate([1.0, 2.0]):
        cache.put(sequence.image_key(index), torch.tensor([value]))

    batch = build_batch([Chunk(sequence, start, stop)], cache, 4, ImageTraits(rereads_images=rereads_images), CPU)

    found = [None if image.features is None else image.features.item() for image in batch.slices[0].images]
    assert found == expected


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [(0, 2, [0, 10]), (1, 3, [10, 20]), (2, 5, [20, 1, 2]), (3, 5, [1, 2]), (4, 5, [2])],
)
def test_positions_are_the_prompts_then_counted_on(start: int, stop: int, expected: list[int]) -> None:
    positions = Positions(np.array([[0, 10, 20], [0, 10, 20]]), delta=-2)

    assert positions_of(positions, start, stop).tolist() == [expected] * 2


@pytest.mark.parametrize(
    ("start", "stop", "spans"),
    [
        pytest.param(0, 2, [], id="before both"),
        pytest.param(0, 7, [(2, 6)], id="the first"),
        pytest.param(2, 10, [(2, 6), (7, 10)], id="both"),
        pytest.param(10, 11, [], id="past both"),
    ],
)
def test_two_way_spans_are_those_among_the_rows(start: int, stop: int, spans: list[tuple[int, int]]) -> None:
    arena, cache = PixelArena.create(1 << 12), EncoderCache(1000)
    sequence = sequence_of(1, prompt_of(1, 2, picture(arena, 1), 3, picture(arena, 2, num_tokens=3), 4), [0, 1, 2])
    for index in range(2):
        cache.put(sequence.image_key(index), torch.tensor([0.0]))
    whole = ImageTraits(whole_spans=True)

    batches = [build_batch([Chunk(sequence, start, stop)], cache, 4, traits, CPU) for traits in (whole, ImageTraits())]

    assert [batch.attention.two_way_spans for batch in batches] == [[spans], ()]

"""Turns a step's chunks into the model's input. Knows no cache policy and runs nothing.

Letters: T tokens in the step, R position rows, S sequences in the step.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.engine.encoder_cache import EncoderCache
from foveal.engine.scheduler import Chunk
from foveal.layers.attention.batch import AttentionBatch
from foveal.layers.states import Save, StateRows
from foveal.layers.step import Positions
from foveal.models.family import ImageTraits, InputBatch, PlacedImage, SequenceSlice


def build_batch(
    chunks: Seq[Chunk], encoder_cache: EncoderCache, block_size: int, traits: ImageTraits, device: torch.device
) -> InputBatch:
    """The chunks as batch rows in order, with the features of the images that they read."""
    rows = list(accumulate((chunk.stop - chunk.start for chunk in chunks), initial=0))
    token_ids = [token_id for chunk in chunks for token_id in chunk.sequence.token_ids[chunk.start : chunk.stop]]
    positions_RT = np.concatenate(
        [positions_of(chunk.sequence.positions, chunk.start, chunk.stop) for chunk in chunks], axis=1
    )
    placed = [_images(chunk, encoder_cache, traits.rereads_images) for chunk in chunks]
    return InputBatch(
        token_ids_T=torch.tensor(token_ids).to(device, non_blocking=True),
        positions_RT=torch.from_numpy(positions_RT).to(device, non_blocking=True),
        slices=tuple(
            SequenceSlice(row, chunk.stop - chunk.start, chunk.start, images)
            for row, chunk, images in zip(rows, chunks, placed, strict=False)
        ),
        attention=AttentionBatch(
            query_start_loc=rows,
            seq_lens=[chunk.stop for chunk in chunks],
            block_tables=[chunk.sequence.block_table for chunk in chunks],
            slot_mapping=[slot for chunk in chunks for slot in _slots(chunk, block_size)],
            block_size=block_size,
            two_way_spans=[_spans(chunk) for chunk in chunks] if traits.whole_spans else (),
            spans_need_window=traits.spans_need_window,
        ),
    )


def state_rows(chunks: Seq[Chunk]) -> list[StateRows]:
    """Which rows of the batch go with which slot of states."""
    starts = accumulate((chunk.stop - chunk.start for chunk in chunks), initial=0)
    return [
        StateRows(
            start,
            start + chunk.stop - chunk.start,
            chunk.sequence.state_slot,
            is_fresh=chunk.start == 0,
            saves=tuple(Save(save.position - chunk.start, save.slot) for save in chunk.saves),
        )
        for start, chunk in zip(starts, chunks, strict=False)
        if chunk.sequence.state_slot is not None
    ]


def positions_of(positions: Positions, start: int, stop: int) -> NDArray[np.int64]:
    """Rotary positions [R, stop - start] of the tokens at [start, stop): the prompt's, then counted on."""
    num_rows, num_prompt_tokens = positions.prompt.shape
    if stop <= num_prompt_tokens:
        return positions.prompt[:, start:stop]
    counted = np.arange(max(start, num_prompt_tokens), stop) + positions.delta
    counted_RT = counted[np.newaxis].repeat(num_rows, axis=0)
    return (
        np.concatenate([positions.prompt[:, start:], counted_RT], axis=1) if start < num_prompt_tokens else counted_RT
    )


def _slots(chunk: Chunk, block_size: int) -> list[int]:
    """Where each token's keys and values go: block number * block_size + offset in the block."""
    table = chunk.sequence.block_table
    return [table[at // block_size] * block_size + at % block_size for at in range(chunk.start, chunk.stop)]


def _spans(chunk: Chunk) -> list[tuple[int, int]]:
    """The image spans among the chunk's tokens."""
    spans = (span for image in chunk.sequence.prompt.images for span in image.spans)
    return [(span.offset, span.end) for span in spans if span.offset < chunk.stop and span.end > chunk.start]


def _images(chunk: Chunk, encoder_cache: EncoderCache, rereads_images: bool) -> tuple[PlacedImage, ...]:
    """All images of the sequence, in order; those that the chunk reads have their features."""
    sequence = chunk.sequence
    if chunk.start >= sequence.images_end and not rereads_images:
        return ()
    placed = []
    for index, image in enumerate(sequence.prompt.images):
        is_read = any(span.offset < chunk.stop and (rereads_images or span.end > chunk.start) for span in image.spans)
        features = encoder_cache.features(sequence.image_key(index)) if is_read else None
        placed.append(PlacedImage(features, image.spans))
    return tuple(placed)

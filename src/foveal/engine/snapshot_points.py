"""After which of a sequence's blocks its state is worth a snapshot: where other prompts may go on differently.

Those are the ends of images and turns, and of the prompt. A turn ends after a token that ends answers. Long stretches
between them are divided, so that a prompt which differs in their middle need not start from far back. Behind the prompt
only the latest whole block counts, since the next turn goes on from there. Imports no torch.
"""

from __future__ import annotations

from bisect import bisect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal.engine.sequence import Sequence

STRETCH = 64  # blocks, after which a stretch is divided
NEAR = 8  # blocks: so near to another point the end of an earlier turn is not worth its own


def snapshot_points(sequence: Sequence, start: int, stop: int, block_size: int) -> list[int]:
    """Those after which the state is kept when positions [start, stop) are computed: numbers of blocks, ascending."""
    first, last = start // block_size, stop // block_size
    if first == last:
        return []
    if sequence.snapshot_points is None:
        sequence.snapshot_points = points_of_prompt(sequence, block_size)
    points = sequence.snapshot_points
    found = points[bisect(points, first) : bisect(points, last)]
    return [*found, last] if last > end_of_prompt(sequence, block_size) else found


def end_of_prompt(sequence: Sequence, block_size: int) -> int:
    """Its last token is computed in any case."""
    return (sequence.num_prompt_tokens - 1) // block_size


def points_of_prompt(sequence: Sequence, block_size: int) -> list[int]:
    prompt, stops = sequence.prompt, {*sequence.sampling.stop_token_ids}
    end = end_of_prompt(sequence, block_size)
    turns = [(at + 1) // block_size for at, token_id in enumerate(prompt.token_ids) if token_id in stops]
    images = [image.spans[-1].end // block_size for image in prompt.images]
    points = sorted({*images, *turns[-1:], end})
    for point in sorted({*turns, *range(STRETCH, end, STRETCH)}):
        at = bisect(points, point)
        if all(abs(point - near) >= NEAR for near in points[max(at - 1, 0) : at + 1]):
            points.insert(at, point)
    return [point for point in points if 0 < point <= end]

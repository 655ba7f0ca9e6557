"""Long computations in pieces: generators that yield wherever they may be interrupted, and return their result.

Streams that wait for their next token can so be served in the middle of a layer. Large steps are faster, though. So a
computation that is sent True at a yield computes what follows whole; `next` divides it by its sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

Result = TypeVar("Result")
Pieces = Generator[None, bool | None, Result]

PIECE_MACS = 2_000_000_000  # multiply-adds of a piece: some 10 to 40 ms on the cores of a small server
MIN_ROWS = 256  # fewer rows at a time are multiplied at a lower speed


def finish(pieces: Pieces[Result]) -> Result:
    """All pieces, one after the other."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            result: Result = end.value
            return result


def at_once(result: Result) -> Pieces[Result]:
    """A result that takes next to no time."""
    yield
    return result


def one_by_one(computations: Sequence[Pieces[Result]]) -> Pieces[list[Result]]:
    """Several computations. All have begun before the first yield, so each has read what may be overwritten."""
    for pieces in computations:
        next(pieces)
    results = []
    for pieces in computations:
        yield
        results.append((yield from pieces))
    return results


def by_rows(compute: Callable[..., Tensor], *inputs: Tensor) -> Pieces[Tensor]:
    """`compute(*inputs)`, for inputs [..., P, C] of which each row has a result of its own; some rows at a time.

    `compute` is about as much work as a plain MLP and the product before it.
    """
    if (yield):
        return compute(*inputs)
    rows = [x.flatten(0, -2) for x in inputs]
    outputs: list[Tensor] = []
    num_parts = _num_parts(len(rows[0]), 9 * inputs[0].shape[-1] ** 2)
    for parts in zip(*(torch.tensor_split(x, num_parts) for x in rows), strict=True):
        if outputs:
            yield
        outputs.append(compute(*parts))
    return torch.unflatten(torch.cat(outputs), 0, inputs[0].shape[:-1])


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Pieces[Tensor]:
    """Every query attends to every key: [..., H, P, D] -> [..., H, P, D], some queries at a time.

    scale: of the scores; None: 1 / sqrt(D).
    """
    if (yield):
        return F.scaled_dot_product_attention(query, key, value, scale=scale)
    macs_a_query = 2 * key.shape[-2] * key.shape[-1] * query[..., 0, 0].numel()
    outputs: list[Tensor] = []
    for part in torch.tensor_split(query, _num_parts(query.shape[-2], macs_a_query), dim=-2):
        if outputs:
            yield
        outputs.append(F.scaled_dot_product_attention(part, key, value, scale=scale))
    return torch.cat(outputs, dim=-2)


def _num_parts(num_rows: int, macs_a_row: int) -> int:
    rows_a_piece = max(MIN_ROWS, PIECE_MACS // macs_a_row)
    return max(1, -(-num_rows // rows_a_piece))

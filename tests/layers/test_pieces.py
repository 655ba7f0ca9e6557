"""layers/pieces.py: long computations can be interrupted, and their results do not depend on it."""

from __future__ import annotations

import math

import pytest
import torch

from foveal.layers.pieces import MIN_ROWS, PIECE_MACS, Pieces, at_once, attend, by_rows, finish, one_by_one


def num_pieces(pieces: Pieces[object]) -> int:
    return sum(1 for _ in pieces)


def test_rows_are_computed_some_at_a_time_with_the_results_of_all_at_once() -> None:
    x, y = torch.randn(2, 3, MIN_ROWS, 1024), torch.randn(2, 3, MIN_ROWS, 4)
    sizes = []

    def compute(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return x[..., :4] + 2 * y

    outputs = finish(by_rows(compute, x, y))

    assert outputs.equal(x[..., :4] + 2 * y)
    assert len(sizes) == 6
    assert sum(sizes) == 6 * MIN_ROWS


def test_few_rows_are_one_piece() -> None:
    assert num_pieces(by_rows(torch.relu, torch.randn(5, 7, 32))) == 1


@pytest.mark.parametrize("num_patches", [50, 1300])
def test_attention_in_pieces_is_the_definition_in_float64(num_patches: int) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 16, num_patches, 80) for _ in range(3))

    output = finish(attend(query, key, value))

    scores = (query.double() @ key.double().transpose(-2, -1)) / math.sqrt(80)
    torch.testing.assert_close(output.double(), scores.softmax(-1) @ value.double(), atol=1e-5, rtol=0)


def test_no_piece_of_attention_is_much_longer_than_another_however_large_the_image() -> None:
    num_patches, width = 4000, 1280
    query = torch.randn(1, 16, num_patches, width // 16)

    pieces = num_pieces(attend(query, query, query))

    assert 2 * num_patches**2 * width / pieces <= max(PIECE_MACS, 2 * MIN_ROWS * num_patches * width)


def test_several_computations_have_all_read_their_inputs_at_the_first_yield() -> None:
    inputs, read = [1, 2, 3], []

    def double(i: int) -> Pieces[int]:
        read.append(inputs[i])
        yield
        yield
        return 2 * read[i]

    doubled = one_by_one([double(i) for i in range(3)])
    next(doubled)
    inputs[:] = [0, 0, 0]

    assert finish(doubled) == [2, 4, 6]


def test_what_takes_no_time_is_one_piece() -> None:
    assert finish(at_once("result")) == "result"


def test_what_is_sent_true_is_computed_whole() -> None:
    x = torch.randn(3000, 1024)
    doubled = by_rows(lambda rows: 2 * rows, x)
    next(doubled)

    with pytest.raises(StopIteration) as end:
        doubled.send(True)

    assert end.value.value.equal(2 * x)

"""Rotary positions: relative, norm-preserving, and scaled as LongRoPE says."""

from __future__ import annotations

import math

import pytest
import torch

from foveal.errors import CheckpointError
from foveal.layers.rope import Rope, frequencies, longrope_attention_factor, rotate, rotation, section_axes


def turned(x: torch.Tensor, positions: list[int]) -> torch.Tensor:
    return rotate(x, rotation(torch.tensor(positions)[:, None] * frequencies(x.shape[-1], 10000.0)))


def test_frequencies_fall_from_one_by_powers_of_theta() -> None:
    assert frequencies(4, 100.0).tolist() == pytest.approx([1.0, 0.1])


def test_the_first_position_is_not_turned() -> None:
    x = torch.randn(1, 2, 8)

    assert torch.equal(turned(x, [0]), x)


def test_each_pair_of_channels_turns_by_position_times_frequency() -> None:
    x = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])  # the pair is channels 0 and 2

    assert turned(x, [3]).flatten().tolist() == pytest.approx([math.cos(3), 0, math.sin(3), 0])


def test_products_depend_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(1, 1, 16), torch.randn(1, 1, 16)

    products = [(turned(query, [p + 5]) * turned(key, [p])).sum().item() for p in (0, 7, 100)]

    assert products == pytest.approx([products[0]] * 3, abs=1e-4)


def test_rotation_keeps_the_dtype() -> None:
    assert turned(torch.randn(1, 1, 8, dtype=torch.bfloat16), [9]).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("context", "original", "factor"),
    [(4096, 4096, 1.0), (2048, 4096, 1.0), (131072, 4096, math.sqrt(1 + math.log(32) / math.log(4096)))],
)
def test_the_attention_factor_grows_with_the_context(context: int, original: int, factor: float) -> None:
    assert longrope_attention_factor(context, original) == pytest.approx(factor)


def test_channels_beyond_the_rotation_stay_as_they_are() -> None:
    x = torch.randn(3, 2, 8)

    y = rotate(x, rotation(torch.tensor([1, 2, 3])[:, None] * frequencies(4, 100.0)))

    assert torch.equal(y[..., 4:], x[..., 4:])
    assert not torch.equal(y[..., :4], x[..., :4])


@pytest.mark.parametrize(
    ("parameters", "axes"),
    [
        ({}, [0, 0, 0, 0, 0, 0]),
        ({"mrope_section": [1, 2, 3]}, [0, 1, 1, 2, 2, 2]),
        ({"mrope_section": [2, 2, 2], "mrope_interleaved": True}, [0, 1, 2, 0, 1, 2]),
        ({"mrope_section": [4, 1, 1], "mrope_interleaved": True}, [0, 1, 2, 0, 0, 0]),
    ],
)
def test_sections_say_which_row_of_positions_turns_a_pair(parameters: dict[str, object], axes: list[int]) -> None:
    assert section_axes(parameters, 6).tolist() == axes


def test_a_pair_turns_by_the_position_of_its_row() -> None:
    rope = Rope.read({"max_position_embeddings": 9, "rope_scaling": {"type": "mrope", "mrope_section": [1, 1]}}, 4)

    turned = rope(torch.tensor([[3], [5]]))

    torch.testing.assert_close(turned.cos[0, 0, :2], torch.tensor([3.0, 5.0 * 10000.0**-0.5]).cos())


def test_a_kind_of_scaling_that_is_not_implemented_is_refused_by_name() -> None:
    with pytest.raises(CheckpointError, match="rope type 'ntk'"):
        Rope.read({"max_position_embeddings": 9, "rope_scaling": {"rope_type": "ntk"}}, 4)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({}, "has no factor"),
        ({"factor": 2.0, "rope_theta": 1.0}, "a rope_theta above 1"),
        ({"factor": 2.0, "truncate": False}, "not with truncate false"),
    ],
)
def test_a_yarn_that_cannot_be_computed_is_refused(other: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        Rope.read({"max_position_embeddings": 9, "rope_scaling": {"rope_type": "yarn", **other}}, 4)


def test_two_original_lengths_are_refused() -> None:
    settings = {"max_position_embeddings": 9, "original_max_position_embeddings": 4}
    scaling = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 5}

    with pytest.raises(CheckpointError, match="two values of original_max_position_embeddings: 4 and 5"):
        Rope.read(settings | {"rope_scaling": scaling}, 4)

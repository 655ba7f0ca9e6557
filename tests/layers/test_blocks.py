"""layers/linear/blocks: every type of GGUF's blocks is unpacked to the numbers of ggml's own code, bit for bit."""

from __future__ import annotations

from typing import Any

import gguf
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from foveal.layers.linear.block_types import BY_NAME, PLAIN, TYPES
from foveal.layers.linear.blocks import DECODERS, ROWS_AT_ONCE, unpacked

HALVES = {  # where a block has numbers of half precision
    **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0", "IQ4_NL", "IQ4_XS"), (0,)),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (0, 2)),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q6_K": (208,),
}


def random_blocks(kind: str, size_out: int, size_in: int) -> NDArray[np.uint8]:
    """Any bits, but that scales are finite: [size_out, bytes]."""
    random, sizes = np.random.default_rng(size_in), BY_NAME[kind]
    blocks = random.integers(0, 256, (size_out * size_in // sizes.block_weights, sizes.block_bytes), dtype=np.uint8)
    for at in HALVES[kind]:
        blocks[:, at : at + 2] = random.normal(0, 0.1, (len(blocks), 1)).astype(np.float16).view(np.uint8)
    return blocks.reshape(size_out, -1)


def theirs(kind: str, stored: NDArray[np.uint8]) -> NDArray[Any]:
    found: NDArray[Any] = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[kind])
    return found


@pytest.mark.parametrize("kind", DECODERS)
def test_numbers_are_those_of_ggml(kind: str) -> None:
    stored = random_blocks(kind, ROWS_AT_ONCE + 3, 512)

    assert np.array_equal(unpacked(kind, torch.from_numpy(stored)).numpy(), theirs(kind, stored))


def test_types_have_the_numbers_and_sizes_of_ggml() -> None:
    for number, kind in TYPES.items():
        theirs = gguf.GGMLQuantizationType[kind.name]
        assert (number, (kind.block_weights, kind.block_bytes)) == (theirs.value, gguf.GGML_QUANT_SIZES[theirs])


def test_every_type_is_plain_or_can_be_unpacked() -> None:
    assert {kind.name for kind in TYPES.values()} <= {*PLAIN, *DECODERS}

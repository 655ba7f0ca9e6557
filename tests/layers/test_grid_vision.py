"""The order of patches. (The tower is held against the reference in parity/.)"""

from __future__ import annotations

import torch

from foveal.layers.grid_vision import block_rows, by_blocks


def test_patches_are_ordered_by_blocks() -> None:
    grid = torch.arange(24).view(4, 6)

    assert by_blocks(grid, 2).tolist()[:8] == [0, 1, 6, 7, 2, 3, 8, 9]
    assert by_blocks(grid, 2).tolist()[-4:] == [16, 17, 22, 23]


def test_a_patch_is_its_pixels_channel_by_channel() -> None:
    pixels = torch.arange(3 * 4 * 8).view(3, 4, 8)

    rows = block_rows(pixels, patch_size=2, merge=2)

    assert rows.shape == (8, 12)
    assert rows[3].tolist() == pixels[:, 2:4, 2:4].flatten().tolist()

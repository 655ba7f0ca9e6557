"""Gemma 4 unified has no tower: squares of pixels are projected to the decoder's width, one a token.

Letters: B tokens of an image, S pixels a side of a token, C width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.layers.linear.load import Weights, load_linear
from foveal.layers.norm import LayerNorm
from foveal.layers.pieces import Pieces, by_rows
from foveal.models.gemma4.tower import LONGEST, grid, positions, square_rows

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.layers.linear.form import Linear

EPS = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Embedder:
    pixel_norm: LayerNorm  # over [S S 3]
    patches: Linear  # [C, S S 3]
    patch_norm: LayerNorm
    position_S2C: Tensor  # learned, of columns and of rows
    position_norm: LayerNorm
    side: int  # S

    @classmethod
    def load(cls, weights: Weights, name: str, side: int) -> Embedder:
        return cls(
            LayerNorm.load(weights, f"{name}.patch_ln1", EPS),
            load_linear(weights, f"{name}.patch_dense"),
            LayerNorm.load(weights, f"{name}.patch_ln2", EPS),
            positions(weights, f"{name}.pos_embedding", dim=0, num_needed=LONGEST),
            LayerNorm.load(weights, f"{name}.pos_norm", EPS),
            side,
        )

    def __call__(self, pixels_HW3: Tensor) -> Pieces[Tensor]:
        """Pixels from 0 to 1, of an image of whole tokens -> [B, C]."""
        rows, columns = (side // self.side for side in pixels_HW3.shape[:2])
        row_B, column_B = (at.flatten() for at in grid(rows, columns, pixels_HW3.device))
        position_BC = self.position_S2C[column_B, 0] + self.position_S2C[row_B, 1]
        return (yield from by_rows(self._embedded, square_rows(pixels_HW3, self.side).to(position_BC), position_BC))

    def _embedded(self, pixels: Tensor, position_BC: Tensor) -> Tensor:
        return self.position_norm(self.patch_norm(self.patches(self.pixel_norm(pixels))) + position_BC)

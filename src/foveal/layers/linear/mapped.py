"""A matrix of a GGUF file, which stays in the mapped file: `foveal.layers.linear.form.Packed`.

Blocks are multiplied as they lie. Half precision is widened some rows at a time at each product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from foveal.layers.linear.block_types import BY_NAME, PLAIN
from foveal.layers.linear.blocks import unpacked
from foveal.layers.linear.quantised import Quantised, blocks
from foveal.layers.native.products import FORM_OF

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True, slots=True, eq=False)
class MappedMatrix:
    kind: str  # of its numbers or blocks
    stored: Tensor  # uint8 [N, bytes]
    dtype: torch.dtype  # of the model that is loaded, as is its device
    device: torch.device

    @property
    def shape(self) -> tuple[int, int]:
        kind = BY_NAME[self.kind]
        return self.stored.shape[0], self.stored.shape[1] // kind.block_bytes * kind.block_weights

    @property
    def is_mapped(self) -> bool:
        return True

    def rows(self, rows: slice | Tensor) -> Tensor:
        """The weights of some outputs: float32 [n, K]"""
        return numbers_of(self.kind, self.stored[rows]).float().to(self.device)

    def linear(self, bias: Tensor | None) -> Quantised | None:
        """None: no kernel multiplies half precision."""
        if self.kind in PLAIN:
            return None
        return blocks(FORM_OF[self.kind], self.stored, None if bias is None else bias.float(), self.dtype)


def numbers_of(kind: str, stored: Tensor) -> Tensor:
    """uint8 [N, bytes] -> [N, K], in float32 where they are blocks"""
    return stored.view(DTYPES[kind]) if kind in PLAIN else unpacked(kind, stored)

"""A vision transformer for images of any size: rotary positions in two axes, patches merged at the end.

This is the tower of the Qwen-VL models. Their generations differ: norms with or without bias, a gated or a plain MLP,
learned positions, windows in most layers, mergers after some. Tensors have the names of the published layouts. Knows
nothing of prompts.

Letters: P patches of an image, B blocks of m x m patches that become one token, C vision width, D head_dim, W decoder
width. Patches are ordered by blocks, in a block row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from foveal.layers.activation import activation
from foveal.layers.linear.load import Weights, has_linear, load_linear, summed_frames
from foveal.layers.mlp import GatedMLP
from foveal.layers.norm import LayerNorm, RMSNorm, load_norm
from foveal.layers.pieces import Pieces, attend, by_rows
from foveal.layers.rope import frequencies, rotate, rotation
from foveal.layers.vision import MLP, VisionAttention, VisionLayer

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.layers.linear.form import Linear
    from foveal.layers.rope import Rotation
    from foveal.layers.vision import Mixing

EPS = 1e-6
ROPE_THETA = 10000.0


@dataclass(frozen=True, slots=True)
class GridConfig:
    num_layers: int
    num_heads: int
    patch_size: int  # pixels a side
    merge_size: int  # m
    hidden_act: str
    window_size: int | None = None  # pixels a side; None: every patch attends to every patch
    full_layers: tuple[int, ...] = ()  # layers without windows
    merged_layers: tuple[int, ...] = ()  # layers after which the states are merged, too


@dataclass(frozen=True, slots=True, eq=False)
class Merger:
    """m x m neighbouring patches -> one token of the decoder's width."""

    norm: LayerNorm | RMSNorm  # over one patch, or over the m x m patches together
    mlp: MLP

    @classmethod
    def load(cls, weights: Weights, name: str) -> Merger:
        if f"{name}.ln_q.weight" in weights:
            mlp = MLP.load(weights, f"{name}.mlp.0", f"{name}.mlp.2", F.gelu)
            return cls(load_norm(weights, f"{name}.ln_q", EPS), mlp)
        mlp = MLP.load(weights, f"{name}.linear_fc1", f"{name}.linear_fc2", F.gelu)
        return cls(load_norm(weights, f"{name}.norm", EPS), mlp)

    def __call__(self, x_PC: Tensor, num_merged: int) -> Pieces[Tensor]:
        """[P, C] -> [B, W]"""
        if self.norm.weight.shape[0] == x_PC.shape[1]:
            return by_rows(self.mlp, torch.unflatten(self.norm(x_PC), 0, (-1, num_merged)).flatten(1))
        return by_rows(self.mlp, self.norm(torch.unflatten(x_PC, 0, (-1, num_merged)).flatten(1)))


@dataclass(frozen=True, slots=True, eq=False)
class GridTower:
    patches: Linear  # [C, 3 patch patch]
    position_SSC: Tensor | None  # a table of S x S learned positions
    layers: tuple[VisionLayer, ...]
    merger: Merger
    more_mergers: tuple[Merger, ...]  # of config.merged_layers
    config: GridConfig

    @classmethod
    def load(cls, weights: Weights, name: str, config: GridConfig) -> GridTower:
        table = f"{name}.pos_embed.weight"
        return cls(
            load_linear(weights, f"{name}.patch_embed.proj", stored=summed_frames),
            _square(weights[table]) if table in weights else None,
            tuple(_load_layer(weights, f"{name}.blocks.{i}", config) for i in range(config.num_layers)),
            Merger.load(weights, f"{name}.merger"),
            tuple(Merger.load(weights, f"{name}.deepstack_merger_list.{i}") for i in range(len(config.merged_layers))),
            config,
        )

    def __call__(self, pixels_3HW: Tensor) -> Pieces[Tensor]:
        """A normalised image of whole blocks -> [B, W (1 + mergers after layers)], row by row."""
        merge = self.config.merge_size
        rows, columns = (side // self.config.patch_size for side in pixels_3HW.shape[1:])
        x_PC = self.patches(block_rows(pixels_3HW, self.config.patch_size, merge).to(self.patches.dtype))
        if self.position_SSC is not None:
            x_PC = x_PC + by_blocks(_resampled(self.position_SSC, rows, columns), merge).to(x_PC.dtype)
        windows = self._windows(rows // merge, columns // merge)
        order_B = torch.cat(windows).to(x_PC.device)
        at_P2 = by_blocks(torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).view(rows, columns, 2), merge)
        turn = _turn(_reorder(at_P2.to(x_PC.device), order_B), self.layers[0].attention)
        full, windowed = _mixing(turn, [len(x_PC)]), _mixing(turn, [len(window) * merge**2 for window in windows])
        x_PC = _reorder(x_PC, order_B)
        merged: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            x_PC = yield from layer(x_PC, full if i in self.config.full_layers else windowed)
            if i in self.config.merged_layers:
                merged.append((yield from self.more_mergers[len(merged)](x_PC, merge**2)))
        tokens = yield from self.merger(x_PC, merge**2)
        return torch.cat([tokens, *merged], dim=-1)[order_B.argsort()]

    def _windows(self, rows: int, columns: int) -> list[Tensor]:
        """The blocks of each window; one window of all blocks if there is no window size."""
        blocks = torch.arange(rows * columns).view(rows, columns)
        if self.config.window_size is None:
            return [blocks.flatten()]
        side = self.config.window_size // self.config.patch_size // self.config.merge_size
        return [window.flatten() for band in torch.split(blocks, side) for window in torch.split(band, side, dim=1)]


def by_blocks(grid: Tensor, merge: int) -> Tensor:
    """[rows, columns, ...] -> [P, ...], by blocks of merge x merge."""
    rows, columns = grid.shape[:2]
    blocks = grid.reshape(rows // merge, merge, columns // merge, merge, *grid.shape[2:])
    return blocks.transpose(1, 2).flatten(0, 3)


def block_rows(pixels_3HW: Tensor, patch_size: int, merge: int) -> Tensor:
    """The pixels of each patch, in the order of a convolution's weights: [P, 3 patch patch]."""
    _, height, width = pixels_3HW.shape
    windows = pixels_3HW.reshape(3, height // patch_size, patch_size, width // patch_size, patch_size)
    return by_blocks(windows.permute(1, 3, 0, 2, 4), merge).flatten(1)


def _reorder(x: Tensor, order_B: Tensor) -> Tensor:
    """[P, ...] -> the same, its blocks in another order."""
    return torch.unflatten(x, 0, (len(order_B), -1))[order_B].flatten(0, 1)


def _turn(at_P2: Tensor, attention: VisionAttention) -> Rotation:
    """The rotation of each patch: half of the channels by its row, half by its column."""
    head_dim = attention.out.in_features // attention.num_heads
    frequencies_D = frequencies(head_dim // 2, ROPE_THETA).to(at_P2.device)
    return rotation((at_P2[..., None] * frequencies_D).flatten(1))


def _mixing(turn: Rotation, lengths: list[int]) -> Mixing:
    """Attention with rotated queries and keys, inside each range of patches; `lengths` are those of the ranges."""
    flat = type(turn)(turn.cos.squeeze(1), turn.sin.squeeze(1))

    def mix(query_HPD: Tensor, key_HPD: Tensor, value_HPD: Tensor) -> Pieces[Tensor]:
        rotated = rotate(query_HPD, flat), rotate(key_HPD, flat), value_HPD
        stretches = zip(*(torch.split(x[None], lengths, dim=2) for x in rotated), strict=True)
        outputs: list[Tensor] = []
        for parts in stretches:
            outputs += [(yield from attend(*parts))]
        return torch.cat(outputs, dim=2)[0]

    return mix


def _resampled(table_SSC: Tensor, rows: int, columns: int) -> Tensor:
    """[rows, columns, C], bilinearly interpolated; corners stay corners."""
    table = table_SSC.permute(2, 0, 1)[None].float()
    return F.interpolate(table, (rows, columns), mode="bilinear", align_corners=True)[0].permute(1, 2, 0)


def _square(table: Tensor) -> Tensor:
    return torch.unflatten(table, 0, (round(len(table) ** 0.5), -1))


def _load_layer(weights: Weights, name: str, config: GridConfig) -> VisionLayer:
    act, mlp = activation(config.hidden_act), f"{name}.mlp"
    plain = next((fc for fc in ("fc", "linear_fc") if has_linear(weights, f"{mlp}.{fc}1")), None)
    return VisionLayer(
        load_norm(weights, f"{name}.norm1", EPS),
        VisionAttention.load(weights, f"{name}.attn", config.num_heads, "proj", EPS),
        load_norm(weights, f"{name}.norm2", EPS),
        MLP.load(weights, f"{mlp}.{plain}1", f"{mlp}.{plain}2", act) if plain else GatedMLP.load(weights, mlp, act),
    )

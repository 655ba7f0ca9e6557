"""Gemma 4's vision tower: patches of an image of any size, rotated by column and row, averaged to tokens at the end.

Letters: P patches of an image, B tokens (squares of k x k patches), C vision width, H heads, D head_dim.

Quirks, as published. A patch's values are ordered by row, column and colour. Half of a head's channels turn with the
column, half with the row. Values are normed, too, and scores are not scaled. Products may be clipped on both sides,
between numbers in the checkpoint. Means of squares are multiplied by sqrt(C), and may be standardised.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from foveal.errors import CheckpointError
from foveal.layers.activation import activation
from foveal.layers.linear.load import Weights, load_linear
from foveal.layers.norm import RMSNorm, normed
from foveal.layers.pieces import Pieces, attend, by_rows
from foveal.layers.rope import Rotation, frequencies, rotate, rotation

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.layers.activation import Activation
    from foveal.layers.linear.form import Linear
    from foveal.models.checkpoint import Settings

ROPE_TYPES = ("axial", "default")  # two names of one rotation
LONGEST = 1120  # tokens in a row or a column: the largest budget


@dataclass(frozen=True, slots=True)
class TowerSettings:
    num_layers: int
    num_heads: int
    head_dim: int
    patch_size: int  # pixels a side
    pool: int  # k
    eps: float
    theta: float  # of the rotation
    activation: Activation
    is_clipped: bool
    is_standardised: bool

    @classmethod
    def read(cls, settings: Settings) -> TowerSettings:
        """Raises CheckpointError for a setting that is missing or not implemented."""
        if settings["num_key_value_heads"] != settings["num_attention_heads"]:
            raise CheckpointError(f"{settings.place}: num_key_value_heads differs; it must be num_attention_heads")
        rope = settings.get("rope_parameters") or {}
        if rope.get("rope_type", "axial") not in ROPE_TYPES:
            raise CheckpointError(f"{settings.place}: rope_type must be {' or '.join(ROPE_TYPES)}")
        return cls(
            num_layers=settings["num_hidden_layers"],
            num_heads=settings["num_attention_heads"],
            head_dim=settings["head_dim"] or settings["hidden_size"] // settings["num_attention_heads"],
            patch_size=settings["patch_size"],
            pool=settings["pooling_kernel_size"],
            eps=settings["rms_norm_eps"],
            theta=rope.get("rope_theta", 100.0),
            activation=activation(settings["hidden_activation"]),
            is_clipped=bool(settings.get("use_clipped_linears")),
            is_standardised=bool(settings.get("standardize")),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Clipped:
    """A product whose inputs and outputs are held between two numbers each."""

    linear: Linear
    inputs: tuple[float, float]
    outputs: tuple[float, float]

    def __call__(self, x: Tensor) -> Tensor:
        return self.linear(x.clamp(*self.inputs)).clamp(*self.outputs)


def load_product(weights: Weights, name: str, settings: TowerSettings) -> Linear | Clipped:
    linear = load_linear(weights, f"{name}.linear")
    if not settings.is_clipped:
        return linear
    low_in, high_in, low_out, high_out = (
        float(weights[f"{name}.{bound}"]) for bound in ("input_min", "input_max", "output_min", "output_max")
    )
    return Clipped(linear, (low_in, high_in), (low_out, high_out))


@dataclass(frozen=True, slots=True, eq=False)
class TowerLayer:
    """A norm before and after each sublayer."""

    attention_norm: RMSNorm
    projections: tuple[Linear | Clipped, ...]  # to queries, keys and values
    query_norm: RMSNorm
    key_norm: RMSNorm
    out: Linear | Clipped
    after_attention_norm: RMSNorm
    mlp_norm: RMSNorm
    gate: Linear | Clipped
    up: Linear | Clipped
    down: Linear | Clipped
    after_mlp_norm: RMSNorm
    settings: TowerSettings

    @classmethod
    def load(cls, weights: Weights, name: str, settings: TowerSettings) -> TowerLayer:
        norm = partial(RMSNorm.load, weights, eps=settings.eps)

        def product(part: str) -> Linear | Clipped:
            return load_product(weights, f"{name}.{part}", settings)

        return cls(
            norm(f"{name}.input_layernorm"),
            tuple(product(f"self_attn.{letter}_proj") for letter in "qkv"),
            norm(f"{name}.self_attn.q_norm"),
            norm(f"{name}.self_attn.k_norm"),
            product("self_attn.o_proj"),
            norm(f"{name}.post_attention_layernorm"),
            norm(f"{name}.pre_feedforward_layernorm"),
            product("mlp.gate_proj"),
            product("mlp.up_proj"),
            product("mlp.down_proj"),
            norm(f"{name}.post_feedforward_layernorm"),
            settings,
        )

    def __call__(self, x_PC: Tensor, turns: tuple[Rotation, Rotation]) -> Pieces[Tensor]:
        qkv = yield from by_rows(self._projected, x_PC)
        query, key, value = torch.unflatten(qkv, 1, (3, self.settings.num_heads, -1)).unbind(1)
        query, key = _turned(self.query_norm(query), turns), _turned(self.key_norm(key), turns)
        query, key, value = (part.transpose(0, 1) for part in (query, key, normed(value, self.settings.eps)))
        mixed_HPD = yield from attend(query, key, value, scale=1.0)
        return (yield from by_rows(self._after_mixing, x_PC, mixed_HPD.transpose(0, 1).flatten(1)))

    def _projected(self, x_PC: Tensor) -> Tensor:
        x_PC = self.attention_norm(x_PC)
        return torch.cat([project(x_PC) for project in self.projections], dim=-1)

    def _after_mixing(self, x_PC: Tensor, mixed_PC: Tensor) -> Tensor:
        x_PC = x_PC + self.after_attention_norm(self.out(mixed_PC))
        y_PC = self.mlp_norm(x_PC)
        y_PC = self.down(self.settings.activation(self.gate(y_PC)) * self.up(y_PC))
        return x_PC + self.after_mlp_norm(y_PC)


@dataclass(frozen=True, slots=True, eq=False)
class Tower:
    patches: Linear  # [C, patch patch 3]
    position_2SC: Tensor  # learned, of columns and of rows
    layers: tuple[TowerLayer, ...]
    bias_C: Tensor | None
    scale_C: Tensor | None
    settings: TowerSettings

    @classmethod
    def load(cls, weights: Weights, name: str, settings: TowerSettings) -> Tower:
        layers = (TowerLayer.load(weights, f"{name}.encoder.layers.{i}", settings) for i in range(settings.num_layers))
        table = f"{name}.patch_embedder.position_embedding_table"
        return cls(
            load_linear(weights, f"{name}.patch_embedder.input_proj"),
            positions(weights, table, dim=1, num_needed=LONGEST * settings.pool),
            tuple(layers),
            weights[f"{name}.std_bias"] if settings.is_standardised else None,
            weights[f"{name}.std_scale"] if settings.is_standardised else None,
            settings,
        )

    def __call__(self, pixels_HW3: Tensor) -> Pieces[Tensor]:
        """Pixels from -1 to 1, of an image of whole tokens -> [B, C]."""
        rows, columns = (side // self.settings.patch_size for side in pixels_HW3.shape[:2])
        row_P, column_P = (at.flatten() for at in grid(rows, columns, pixels_HW3.device))
        x_PC = self.patches(square_rows(pixels_HW3, self.settings.patch_size).to(self.patches.dtype))
        x_PC = x_PC + self.position_2SC[0, column_P] + self.position_2SC[1, row_P]
        turns = self._turn(column_P), self._turn(row_P)
        for layer in self.layers:
            x_PC = yield from layer(x_PC, turns)
        return self._pooled(torch.unflatten(x_PC, 0, (rows, columns)))

    def _turn(self, at_P: Tensor) -> Rotation:
        """Of half a head's channels."""
        frequencies_D = frequencies(self.settings.head_dim // 2, self.settings.theta).to(at_P.device)
        return rotation(at_P[:, None] * frequencies_D)

    def _pooled(self, x_RSC: Tensor) -> Tensor:
        """Means of k x k neighbours, in float32: [rows, columns, C] -> [B, C]."""
        pool = self.settings.pool
        squares = torch.unflatten(torch.unflatten(x_RSC.float(), 1, (-1, pool)), 0, (-1, pool))
        means_BC: Tensor = squares.mean(dim=(1, 3)).flatten(0, 1).to(x_RSC.dtype).float() * x_RSC.shape[-1] ** 0.5
        if self.bias_C is not None and self.scale_C is not None:
            means_BC = (means_BC - self.bias_C.float()) * self.scale_C.float()
        return means_BC.to(x_RSC.dtype)


def positions(weights: Weights, name: str, dim: int, num_needed: int) -> Tensor:
    """A table of what is learned of positions. Raises CheckpointError where the longest picture goes beyond it."""
    table = weights[name]
    if table.ndim != 3 or table.shape[dim] < num_needed:
        raise CheckpointError(f"{name} has the shape {[*table.shape]}; pictures have up to {num_needed} positions")
    return table


def square_rows(pixels_HW3: Tensor, side: int) -> Tensor:
    """The values of each square of side x side pixels: [squares, side side 3]."""
    height, width, _ = pixels_HW3.shape
    squares: Tensor = pixels_HW3.reshape(height // side, side, width // side, side, 3).transpose(1, 2)
    return squares.flatten(2).flatten(0, 1)


def _turned(x_PHD: Tensor, turns: tuple[Rotation, Rotation]) -> Tensor:
    """The first half of each head by one rotation, the second by the other."""
    halves = zip(x_PHD.chunk(2, dim=-1), turns, strict=True)
    return torch.cat([rotate(half, turn) for half, turn in halves], dim=-1)


def grid(rows: int, columns: int, device: torch.device) -> tuple[Tensor, ...]:
    """The row and the column of each of rows x columns places."""
    return torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")

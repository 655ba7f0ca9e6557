"""Formats with a number a byte: FP8 and int8, with scales for the matrix, each output, groups or blocks.

They are what fp8, fbgemm_fp8, modelopt's FP8, compressed-tensors (int, float and naive) and bitsandbytes' int8 store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from foveal.layers.linear.packed.grouped import exponents, scaled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from torch import Tensor

    from foveal.layers.linear.packed.grouped import Grouped, Kind
    from foveal.layers.linear.packed.stored import Reader, Stored

SCALES = ("weight_scale_inv", "weight_scale")  # either is multiplied by
FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float8_e8m0fnu, torch.uint8)  # uint8: exponents
KINDS: dict[torch.dtype, Kind] = {torch.float8_e4m3fn: "float8", torch.int8: "int8", torch.float8_e5m2: "other"}
BLOCK = (128, 128)  # where the settings tell no other


def reader(settings: Mapping[str, Any]) -> Reader:
    blocks = tuple(settings.get("weight_block_size") or BLOCK)
    return lambda stored: read(stored, (blocks[0], blocks[1]))


def read(stored: Stored, blocks: tuple[int, int]) -> Grouped | None:
    """blocks: the outputs and inputs that share a scale, where scales are fewer than outputs."""
    if not stored.has("weight"):
        return None
    ending = next(filter(stored.has, SCALES), None)
    weight = stored.read("weight")
    if weight.dtype not in KINDS:
        if ending:
            raise stored.broken("weight", f"has scales, but is of {weight.dtype}".replace("torch.", ""))
        return None
    weight = stored.matrix("weight", *KINDS)
    kind, shape = KINDS[weight.dtype], (len(weight), weight.shape[1])
    scale, group = _scales(stored, ending or SCALES[-1], shape, blocks)
    if not stored.has("weight_zero_point"):
        return stored.grouped(shape, kind, lambda rows: weight[rows], scale, group)
    zero = stored.read("weight_zero_point", torch.int8).reshape(-1, 1 if scale.shape[1] == 1 else scale.shape[1])
    zero = zero.short().expand(scale.shape)  # the numbers may leave int8
    return stored.grouped(shape, "other", lambda rows: weight[rows].short(), scale, group, zero)


def _scales(stored: Stored, ending: str, shape: tuple[int, int], blocks: tuple[int, int]) -> tuple[Tensor, int]:
    """float32 [N, G], and the inputs that share one."""
    scale = stored.read(ending, *FLOATS)
    size_out, size_in = shape
    if scale.dtype == torch.uint8:
        scale = exponents(scale)
    if scale.numel() == 1 or scale.shape in ((size_out,), (size_out, 1)):
        return scaled(size_out, scale), size_in
    if scale.dim() == 2 and len(scale) == size_out and size_in % scale.shape[1] == 0:
        return scale.float(), size_in // scale.shape[1]
    if scale.shape == (-(-size_out // blocks[0]), -(-size_in // blocks[1])):
        return scale.float().repeat_interleave(blocks[0], 0)[:size_out], blocks[1]
    raise stored.broken(ending, f"has the shape {list(scale.shape)}, which fits no weight of {list(shape)}")


def read_vectorwise(stored: Stored) -> Grouped | None:
    """bitsandbytes' int8: a row's largest magnitude stands for 127."""
    if not stored.has("SCB"):
        return None
    weight = stored.matrix("weight", torch.int8)
    shape = len(weight), weight.shape[1]
    scale = scaled(shape[0], stored.read("SCB", torch.float32, shape=(shape[0],)) / 127)
    return stored.grouped(shape, "int8", lambda rows: weight[rows], scale, shape[1])

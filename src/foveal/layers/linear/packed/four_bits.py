"""Formats with two floats of four bits in a byte: NVFP4, MXFP4, and bitsandbytes' nf4 and fp4.

Letters: N outputs, K inputs, G groups of inputs.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import torch

from foveal.layers.linear.own_blocks import E2M1_HALVES, NF4
from foveal.layers.linear.packed.grouped import exponents

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.layers.linear.packed.grouped import Grouped, Kind
    from foveal.layers.linear.packed.stored import Stored

E2M1 = E2M1_HALVES / 2
STATES = tuple(f"weight.quant_state.bitsandbytes__{kind}" for kind in ("nf4", "fp4"))


def nibbles(pairs: Tensor, is_low_first: bool) -> Tensor:
    """uint8 [n, K / 2] -> int32 [n, K]"""
    low, high = pairs & 15, pairs >> 4
    return torch.stack((low, high) if is_low_first else (high, low), -1).flatten(1).int()


def e2m1(stored: Stored) -> Grouped | None:
    """NVFP4 and MXFP4: weight_packed (ModelOpt: weight) [N, K / 2], weight_scale [N, G]; NVFP4: and one of all."""
    ending = "weight_packed" if stored.has("weight_packed") else "weight"
    if not stored.has(ending) or not stored.has("weight_scale") or stored.read(ending).dtype != torch.uint8:
        return None
    pairs = stored.matrix(ending, torch.uint8)
    shape = len(pairs), pairs.shape[1] * 2
    scale = stored.matrix("weight_scale", torch.float8_e4m3fn, torch.uint8, torch.float8_e8m0fnu)
    if len(scale) != shape[0] or shape[1] % scale.shape[1]:
        raise stored.broken("weight_scale", f"has the shape {list(scale.shape)}, for {list(shape)}")
    scale_NG = exponents(scale) if scale.dtype == torch.uint8 else scale.float()
    factor = _factor(stored, scale.dtype == torch.float8_e4m3fn)
    return stored.grouped(
        shape,
        "e2m1",
        lambda rows: nibbles(pairs[rows], True),
        scale_NG,
        shape[1] // scale.shape[1],
        table=E2M1,
        factor=factor,
    )


def _factor(stored: Stored, is_needed: bool) -> float:
    """Of all scales: one library divides by what it stores, the other multiplies."""
    if stored.has("weight_scale_2"):
        return _number(stored, "weight_scale_2")
    if is_needed or stored.has("weight_global_scale"):
        return 1 / _number(stored, "weight_global_scale")
    return 1.0


def _number(stored: Stored, ending: str) -> float:
    scale = stored.read(ending, torch.float32, torch.bfloat16, torch.float16)
    if scale.numel() != 1 or not 0 < float(scale) < math.inf:
        raise stored.broken(ending, "is no number above 0")
    return float(scale)


# --- bitsandbytes -----------------------------------------------------------------------------------------------------


def table(stored: Stored) -> Grouped | None:
    """nf4 and fp4: numbers are places in quant_map; blocks of the flat matrix share a largest magnitude."""
    state = next(filter(stored.has, STATES), None)
    if state is None:
        return None
    settings = _settings(stored, state)
    size_out, size_in = settings["shape"]
    pairs = stored.read("weight", torch.uint8)
    if size_in % 2 or pairs.numel() * 2 != size_out * size_in:
        raise stored.broken("weight", f"has {pairs.numel()} bytes, for [{size_out}, {size_in}]")
    pairs = pairs.reshape(size_out, -1)
    values = stored.read("weight.quant_map", torch.float32, shape=(16,))
    kind: Kind = "nf4" if torch.allclose(values, NF4, atol=1e-6) else "other"
    most = _magnitudes(stored, settings, -(-size_out * size_in // settings["blocksize"]))
    group = math.gcd(size_in, settings["blocksize"])  # a block may end within a row
    blocks = torch.arange(size_out * size_in // group) * group // settings["blocksize"]
    scale_NG = most[blocks].view(size_out, -1)
    return stored.grouped(
        (size_out, size_in), kind, lambda rows: nibbles(pairs[rows], False), scale_NG, group, table=values
    )


def _settings(stored: Stored, state: str) -> dict[str, Any]:
    """The JSON object that is stored as a tensor, checked."""
    try:
        found = json.loads(bytes(stored.read(state, torch.uint8).tolist()))
        shape, blocksize = found["shape"], found["blocksize"]
        is_right = len(shape) == 2 and all(type(size) is int and 0 < size < 2**31 for size in (*shape, blocksize))
        if "nested_blocksize" in found:
            is_right &= type(found["nested_blocksize"]) is int and 0 < found["nested_blocksize"] < 2**31
            is_right &= math.isfinite(found["nested_offset"])
    except (ValueError, TypeError, KeyError, RecursionError):
        is_right = False
    if not is_right:
        raise stored.broken(state, "describes no matrix")
    return dict(found)


def _magnitudes(stored: Stored, settings: dict[str, Any], num_blocks: int) -> Tensor:
    """Of each block, float32; they may be quantised themselves, in blocks of their own."""
    if "nested_blocksize" not in settings:
        return stored.read("weight.absmax", torch.float32, shape=(num_blocks,))
    size, offset = int(settings["nested_blocksize"]), float(settings["nested_offset"])
    places = stored.read("weight.absmax", torch.uint8, shape=(num_blocks,)).int()
    values = stored.read("weight.nested_quant_map", torch.float32, shape=(256,))[places]
    most = stored.read("weight.nested_absmax", torch.float32, shape=(-(-num_blocks // size),))
    return values * most.repeat_interleave(size)[:num_blocks] + offset

"""Formats that pack integers into words of 32 bits: AWQ, GPTQ, and compressed-tensors' pack-quantized.

A weight is (number - zero point) x scale; some inputs in a row share both.
Letters: N outputs, K inputs, G groups of inputs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from foveal.layers.linear.packed.grouped import scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from foveal.layers.linear.packed.grouped import Grouped, Kind
    from foveal.layers.linear.packed.stored import Reader, Stored

BITS = (2, 4, 8)  # those that words hold whole numbers of
AWQ_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)  # in a word, of eight outputs in their order
FLOATS = (torch.float16, torch.bfloat16, torch.float32)


def unpack(words: Tensor, bits: int, places: tuple[int, ...] | None = None) -> Tensor:
    """int32 [..., words] -> int16 [..., words x 32 / bits]; places: of a word's numbers, the lowest bits are 0."""
    shifts = torch.tensor(places or range(32 // bits), dtype=torch.int32) * bits
    return (words[..., None] >> shifts & (1 << bits) - 1).to(torch.int16).flatten(-2)


# --- AWQ --------------------------------------------------------------------------------------------------------------


def awq(stored: Stored) -> Grouped | None:
    """qweight [K, N / 8], qzeros [G, N / 8], scales [G, N]."""
    if not stored.has("qweight"):
        return None
    words = stored.matrix("qweight", torch.int32)
    size_in, size_out = len(words), words.shape[1] * 8
    scale, group = _scales(stored, size_in, size_out)
    zeros = stored.read("qzeros", torch.int32, shape=(len(scale.T), words.shape[1]))

    def numbers(rows: slice | Tensor) -> Tensor:
        outputs = torch.arange(size_out)[rows]
        shifts = torch.tensor(AWQ_PLACES, dtype=torch.int32)[outputs % 8] * 4
        return (words[:, outputs // 8] >> shifts & 15).to(torch.int16).T

    return _asymmetric(stored, (size_out, size_in), 4, numbers, unpack(zeros, 4, AWQ_PLACES).T, scale, group)


# --- GPTQ -------------------------------------------------------------------------------------------------------------


def gptq_reader(settings: Mapping[str, Any]) -> Reader:
    zeros_lack = 0 if settings.get("checkpoint_format") == "gptq_v2" else 1
    return partial(gptq, bits=settings["bits"], zeros_lack=zeros_lack, is_sorted=not settings.get("desc_act"))


def gptq(stored: Stored, bits: int, zeros_lack: int, is_sorted: bool) -> Grouped | None:
    """qweight [K / n, N], qzeros [G, N / n], scales [G, N], n numbers in a word; g_idx [K]: the group of each input.

    zeros_lack: 1 in the older format, which stores zero points less one. is_sorted: whether groups lie in a row, so
    that g_idx may be missing.
    """
    if not stored.has("qweight"):
        return None
    words, in_word = stored.matrix("qweight", torch.int32), 32 // bits
    size_in, size_out = len(words) * in_word, words.shape[1]
    scale, group = _scales(stored, size_in, size_out)
    zeros = stored.read("qzeros", torch.int32, shape=(scale.shape[1], -(-size_out // in_word)))
    zeros = (unpack(zeros, bits)[:, :size_out] + zeros_lack & (1 << bits) - 1).T
    order = None if is_sorted and not stored.has("g_idx") else _order(stored, "g_idx", size_in, group)

    def numbers(rows: slice | Tensor) -> Tensor:
        found = unpack(words[:, rows].T, bits)
        return found if order is None else found[:, order]

    return _asymmetric(stored, (size_out, size_in), bits, numbers, zeros, scale, group, order)


# --- compressed-tensors -----------------------------------------------------------------------------------------------


def pack_quantized(stored: Stored) -> Grouped | None:
    """weight_packed [N, K / n], weight_scale [N, G], weight_zero_point [N / n, G], weight_shape, weight_g_idx [K]."""
    if not stored.has("weight_packed"):
        return None
    words = stored.matrix("weight_packed", torch.int32)
    size_out, size_in = (int(size) for size in stored.read("weight_shape", torch.int64, torch.int32, shape=(2,)))
    bits = next((bits for bits in BITS if size_in > 0 and -(-size_in * bits // 32) == words.shape[1]), None)
    if bits is None or size_out != len(words):
        raise stored.broken("weight_packed", f"has the shape {list(words.shape)}, for [{size_out}, {size_in}]")
    scale = stored.read("weight_scale", *FLOATS).float()
    if scale.numel() == 1:
        scale = scaled(size_out, scale)
    if scale.dim() != 2 or len(scale) != size_out or not scale.shape[1] or size_in % scale.shape[1]:
        raise stored.broken("weight_scale", f"has the shape {list(scale.shape)}, for [{size_out}, {size_in}]")
    zeros, group = torch.tensor([[1 << bits - 1]], dtype=torch.int16).expand(scale.shape), size_in // scale.shape[1]
    if stored.has("weight_zero_point"):
        packed = stored.read("weight_zero_point", torch.int32, shape=(-(-size_out * bits // 32), scale.shape[1]))
        zeros = unpack(packed.T, bits)[:, :size_out].T
    order = _order(stored, "weight_g_idx", size_in, group) if stored.has("weight_g_idx") else None

    def numbers(rows: slice | Tensor) -> Tensor:
        found = unpack(words[rows], bits)[:, :size_in]
        return found if order is None else found[:, order]

    return _asymmetric(stored, (size_out, size_in), bits, numbers, zeros, scale, group, order)


# --- shared -----------------------------------------------------------------------------------------------------------


def _scales(stored: Stored, size_in: int, size_out: int) -> tuple[Tensor, int]:
    """float32 [N, G], stored as [G, N], and the inputs that share one."""
    scale = stored.matrix("scales", *FLOATS)
    if scale.shape[1] != size_out or size_in % len(scale):
        raise stored.broken("scales", f"has the shape {list(scale.shape)}, for [{size_in}, {size_out}]")
    return scale.T.float(), size_in // len(scale)


def _order(stored: Stored, ending: str, size_in: int, group: int) -> Tensor | None:
    """Inputs sorted by the group that each is in; None where they lie so."""
    groups = stored.read(ending, torch.int32, torch.int64, shape=(size_in,))
    order = torch.argsort(groups, stable=True)
    if not torch.equal(groups[order], torch.arange(size_in, dtype=groups.dtype) // group):
        raise stored.broken(ending, f"does not put {group} inputs into each group")
    return None if torch.equal(order, torch.arange(size_in)) else order


def _asymmetric(
    stored: Stored,
    shape: tuple[int, int],
    bits: int,
    numbers: Callable[[slice | Tensor], Tensor],
    zeros_NG: Tensor,
    scale_NG: Tensor,
    group: int,
    inputs_K: Tensor | None = None,
) -> Grouped:
    """Numbers without a sign, and the zero point of each group."""
    is_centred = bool((zeros_NG == 1 << bits - 1).all())
    kinds: tuple[Kind, Kind] = ("int4", "uint4") if bits <= 4 else ("int8", "other")
    kind = kinds[0] if is_centred else kinds[1]
    return stored.grouped(shape, kind, numbers, scale_NG, group, zeros_NG, inputs_K=inputs_K)

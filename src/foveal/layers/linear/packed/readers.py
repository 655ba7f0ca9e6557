"""Which reader a quantised file needs, by the name of its method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from foveal.layers.linear.packed import eight_bits, four_bits, words
from foveal.layers.linear.packed.stored import Reader, Stored, StoredTensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from foveal.layers.linear.form import Packed

PLAIN = (torch.float32, torch.bfloat16, torch.float16)  # the dtypes of what a file leaves unquantised

READERS: dict[str, Callable[[Mapping[str, Any]], Reader]] = {
    "awq": lambda settings: words.awq,
    "bitsandbytes": lambda settings: any_of(four_bits.table, eight_bits.read_vectorwise),
    "compressed-tensors": lambda settings: any_of(four_bits.e2m1, words.pack_quantized, eight_bits.reader(settings)),
    "fbgemm_fp8": eight_bits.reader,
    "fp8": eight_bits.reader,
    "gptq": words.gptq_reader,
    "modelopt": lambda settings: any_of(four_bits.e2m1, eight_bits.reader(settings)),
}


def any_of(*readers: Reader) -> Reader:
    """For methods with several formats: each reader knows its own by the tensors' names."""
    return lambda stored: next((found for read in readers if (found := read(stored))), None)


def packed_matrices(
    settings: Mapping[str, Any], tensors: StoredTensors, dtype: torch.dtype, device: torch.device
) -> Callable[[str], Packed | None] | None:
    """Finds the packed matrix of a name; None for a file that is not quantised."""
    if not settings:
        return None
    read = READERS[settings["quant_method"]](settings)

    def packed(name: str) -> Packed | None:
        stored = Stored(tensors, name, dtype, device)
        if stored.has("pre_quant_scale"):
            raise stored.broken("pre_quant_scale", "is a scale of inputs, which is not implemented")
        found = read(stored)
        if found is None and stored.has("weight"):
            stored.read("weight", *PLAIN)
        return found

    return packed

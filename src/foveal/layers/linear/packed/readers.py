"""Which reader a quantised file needs, by the name of its method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foveal.layers.linear.packed import eight_bits, words
from foveal.layers.linear.packed.stored import Reader, Stored, StoredTensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from foveal.layers.linear.form import Packed

READERS: dict[str, Callable[[Mapping[str, Any]], Reader]] = {
    "awq": lambda settings: words.awq,
    "compressed-tensors": lambda settings: any_of(words.pack_quantized, eight_bits.reader(settings)),
    "fbgemm_fp8": eight_bits.reader,
    "fp8": eight_bits.reader,
    "gptq": words.gptq_reader,
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
    return lambda name: read(Stored(tensors, name, dtype, device))

"""Which reader a quantised file needs, by the name of its method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foveal.layers.linear.packed import eight_bits
from foveal.layers.linear.packed.stored import Reader, Stored, StoredTensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from foveal.layers.linear.form import Packed

READERS: dict[str, Callable[[Mapping[str, Any]], Reader]] = {
    "compressed-tensors": eight_bits.reader,
    "fbgemm_fp8": eight_bits.reader,
    "fp8": eight_bits.reader,
}


def packed_matrices(
    settings: Mapping[str, Any], tensors: StoredTensors, dtype: torch.dtype, device: torch.device
) -> Callable[[str], Packed | None] | None:
    """Finds the packed matrix of a name; None for a file that is not quantised."""
    if not settings:
        return None
    read = READERS[settings["quant_method"]](settings)
    return lambda name: read(Stored(tensors, name, dtype, device))

"""What a device multiplies fast, found by trying: CPUs that list bfloat16 instructions do not all gain by them."""

import time
from functools import cache

import torch

TRIED = (4096, 192, 576)  # rows, in, out: a layer of the tower about a few pictures
TRIALS = 5


@cache
def precision(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU and on CPUs where it is faster than float32, which it is on others."""
    if device.type == "cuda":
        return torch.bfloat16
    return min((torch.float32, torch.bfloat16), key=seconds)


def seconds(dtype: torch.dtype) -> float:
    """The least that a CPU took for a product of matrices, by as many threads as it is to train with."""
    rows, size_in, size_out = TRIED
    left, right = torch.ones(rows, size_in, dtype=dtype), torch.ones(size_in, size_out, dtype=dtype)
    taken = []
    for _ in range(TRIALS):
        started = time.perf_counter()
        left @ right
        taken.append(time.perf_counter() - started)
    return min(taken)


def autocast(device: torch.device) -> torch.autocast:
    """Matrix products in `precision`; float32 needs no casts."""
    dtype = precision(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)

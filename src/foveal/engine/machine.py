"""Facts about this machine: read from the kernel where it reports them, measured where it does not."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import torch

from foveal.engine.resolve import Bfloat16, Machine
from foveal.layers.native.library import library

CPUINFO = Path("/proc/cpuinfo")
TRIED = (4096, 192, 576)  # rows, in, out: a layer of a small vision tower for a few images
TRIALS = 5


def this_machine() -> Machine:
    """The facts that `resolve.place` needs."""
    return Machine(torch.cuda.is_available(), cpu_bfloat16(), has_native_code=library() is not None)


@cache
def cpu_bfloat16() -> Bfloat16:
    """How fast this CPU multiplies bfloat16. Measured, since not every CPU with the instructions gains by them."""
    flags = CPUINFO.read_text("utf-8").split()  # of AVX512-BF16, AMX or Arm's BF16 extension
    if {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags):
        return "absent"
    return "fast" if product_s(torch.bfloat16) < product_s(torch.float32) else "slow"


def product_s(dtype: torch.dtype) -> float:
    """The shortest time of a few matrix products, on one thread.

    Several threads would wait for one another on cores that other programs use, whatever the dtype.
    """
    rows, size_in, size_out = TRIED
    left, right = torch.ones(rows, size_in, dtype=dtype), torch.ones(size_in, size_out, dtype=dtype)
    taken_s, threads = list[float](), torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(TRIALS):
        started_s = time.perf_counter()
        left @ right
        taken_s.append(time.perf_counter() - started_s)
    torch.set_num_threads(threads)
    return min(taken_s)


def available_bytes(device: torch.device) -> int:
    """Memory that is available on the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no MemAvailable")

"""Facts about this machine: read from the kernel where it reports them, measured where it does not."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import get_args

import torch

from foveal.engine.resolve import Bfloat16, Machine
from foveal.layers.native.library import library

CPUINFO = Path("/proc/cpuinfo")
TRIED = (4096, 192, 576)  # rows, in, out: a layer of a small vision tower for a few images
TRIALS = 5
TELLING = ("model name", "flags", "CPU part", "Features")  # what the kernel lists of a CPU, on x86 and on Arm

log = logging.getLogger(__name__)


def this_machine(folder: Path | None = None) -> Machine:
    """The facts that `resolve.place` needs. folder: where the result of a trial is kept."""
    return Machine(torch.cuda.is_available(), kept_bfloat16(folder), has_native_code=library() is not None)


def kept_folder(environ: Mapping[str, str]) -> Path | None:
    """Where what is computed once is kept for later starts; None where there is no place."""
    caches, home = environ.get("XDG_CACHE_HOME", ""), environ.get("HOME")
    if caches.startswith("/"):
        return Path(caches) / "foveal"
    return Path(home) / ".cache" / "foveal" if home else None


def kept_bfloat16(folder: Path | None) -> Bfloat16:
    """What an earlier trial found on such a CPU with this torch. So two starts agree, however busy the machine is."""
    if folder is None:
        return cpu_bfloat16()
    lines = {line for line in CPUINFO.read_text("utf-8").splitlines() if line.startswith(TELLING)}
    key = hashlib.sha256("\n".join([torch.__version__, *sorted(lines)]).encode()).hexdigest()[:16]
    file = folder / f"bfloat16-{key}"
    try:
        found = {word: word for word in get_args(Bfloat16)}.get(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        found = None
    return found or _kept(file, cpu_bfloat16())


def _kept(file: Path, found: Bfloat16) -> Bfloat16:
    unfinished = file.with_suffix(f".{os.getpid()}")  # replaced at once: nobody reads half a word
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(found, "utf-8")
        unfinished.replace(file)
    except OSError as error:
        log.info("the result of a trial could not be kept in %s: %s", file.parent, error)
    return found


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

"""What this machine can do at most, with as many threads as it has cores: memory read, and products of matrices."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch

SIDE = 2048
READ_BYTES = 512 << 20
TIMES = 5


def ceilings() -> dict[str, float]:
    """GB/s of memory read, G operations a second of products. The best of a few, because other work only slows."""
    operations = 2 * SIDE**3 / 1e9
    words = torch.ones(READ_BYTES // 8, dtype=torch.int64)
    found = {"memory read, GB/s": READ_BYTES / 1e9 / _best_s(words.sum)}
    for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
        found[f"{name} products, GFLOP/s"] = operations / _best_s(partial(torch.mm, a, b))
    x, y = (torch.randint(-127, 127, (SIDE, SIDE), dtype=torch.int8) for _ in range(2))
    found["int8 products (_int_mm), GOP/s"] = operations / _best_s(partial(torch._int_mm, x, y))
    return found


def _best_s(work: Callable[[], object]) -> float:
    work()
    return min(_seconds(work) for _ in range(TIMES))


def _seconds(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s

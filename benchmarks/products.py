"""Products of quantised matrices against torch's in float32, by form and number of rows, in turn.

    python -m benchmarks.products [--threads 2] [--rounds 10]

Results: benchmarks/products.txt.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import torch

from foveal.layers.linear.form import Matrix
from foveal.layers.linear.load import FORMS

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES = ((960, 576), (3072, 768), (768, 3072), (8960, 1536))  # out, in
ROWS = (1, 8, 16, 64, 256, 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(
        f"{date.today()}, {platform.machine()}, {asked.threads} threads, load {os.getloadavg()[0]:.1f}; GOP/s at best"
    )
    print("  out     in   rows   float32    int8    int4   int8 / float32")
    for size_out, size_in in SHAPES:
        matrix = Matrix(torch.randn(size_out, size_in), torch.randn(size_out))
        linears = {form: FORMS[form].linear((matrix,)) for form in ("plain", "int8", "int4")}
        for num_rows in ROWS:
            x = torch.randn(num_rows, size_in)
            s = in_turn({form: partial(linear, x) for form, linear in linears.items()}, asked.rounds)
            speed = {form: 2e-9 * num_rows * size_out * size_in / taken_s for form, taken_s in s.items()}
            shown = "  ".join(f"{speed[form]:6.1f}" for form in linears)
            print(f"{size_out:5}  {size_in:5}  {num_rows:5}    {shown}   {s['plain'] / s['int8']:.2f}", flush=True)


def in_turn(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The shortest seconds of each way."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, call in ways.items():
            started_s = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - started_s)
            time.sleep(0.001)  # the other way's threads stop spinning
    return best


if __name__ == "__main__":
    main()

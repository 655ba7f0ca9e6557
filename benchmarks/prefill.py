"""Prefill of one long prompt by SmolVLM-256M's decoder (random weights), with attention in C and by torch.

    python -m benchmarks.prefill [--quantization int8|none] [--threads 2] [--tokens 7900]

Both ways compute the prompt in the engine's chunks, chunk by chunk in turn, so that other programs slow both alike.
Beside them the floor: the multiplications of products and of attention at the speed of torch's float32 product in the
same run, products in int8 at twice that. What it printed, and where: benchmarks/prefill.txt.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import torch

from benchmarks.decode_step import BLOCK_SIZE, ENGINE, SHAPE, random_decoder
from foveal.engine.resolve import CPU_BUDGET
from foveal.engine.runner import compute
from foveal.layers.attention.backends import attention_backend
from foveal.layers.attention.batch import AttentionBatch
from foveal.layers.attention.cpu import InPlace
from foveal.models.family import InputBatch, Model

if TYPE_CHECKING:
    from collections.abc import Callable

CPU = torch.device("cpu")
CHUNK = CPU_BUDGET[0]  # tokens of a step
REPORTED = (500, 2000, 4000, 7900)
TRIED = (512, 576, 3072)  # rows, in, out: the decoder's largest product


def chunk_of(start: int, stop: int) -> InputBatch:
    """Tokens [start, stop) of the prompt, whose blocks lie one after the other."""
    attention = AttentionBatch(
        [0, stop - start], [stop], [range(-(-stop // BLOCK_SIZE))], range(start, stop), BLOCK_SIZE
    )
    return InputBatch(torch.arange(start, stop), torch.arange(start, stop)[None], (), attention)


def seconds(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def product_speed() -> float:
    """Multiply-adds a second of torch's float32 product."""
    rows, size_in, size_out = TRIED
    x, weight = torch.randn(rows, size_in), torch.randn(size_out, size_in)
    return rows * size_in * size_out / min(seconds(lambda: torch.nn.functional.linear(x, weight)) for _ in range(10))


def multiplications(num_tokens: int, num_weights: int) -> tuple[int, int]:
    """Of products and of attention."""
    width = SHAPE["num_hidden_layers"] * SHAPE["hidden_size"]
    return num_tokens * num_weights, num_tokens**2 * width  # a token attends to half of the prompt, twice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quantization", default="int8", choices=["int8", "none"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tokens", type=int, default=REPORTED[-1])
    asked = parser.parse_args()
    if "GOMP_SPINCOUNT" not in os.environ:  # as the engine's process is started
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.prefill", *sys.argv[1:]], os.environ | ENGINE)
    torch.set_num_threads(asked.threads)
    decoder, num_bytes = random_decoder(asked.quantization)
    print(f"{date.today()}, {platform.machine()}, {asked.threads} threads, load {os.getloadavg()[0]:.1f}, "
          f"weights: {asked.quantization}")  # fmt: skip
    print("tokens   attention in C    by torch   ratio    floor   in C / floor")
    with torch.inference_mode():
        report(Model(decoder), num_bytes // 4, asked.tokens, 2 if asked.quantization == "int8" else 1)


def report(model: Model, num_weights: int, num_tokens: int, product_gain: int) -> None:
    num_layers, num_kv_heads, head_dim = model.decoder.kv_shape
    backends = {"C": attention_backend(CPU, torch.float32), "torch": InPlace(CPU)}
    num_blocks = -(-num_tokens // BLOCK_SIZE)
    caches = {name: torch.zeros(num_layers, 2, num_blocks, BLOCK_SIZE, num_kv_heads, head_dim) for name in backends}
    taken, speeds, start = dict.fromkeys(backends, 0.0), [product_speed()], 0
    for stop in sorted({*range(CHUNK, num_tokens, CHUNK), *(n for n in REPORTED if n < num_tokens), num_tokens}):
        batch = chunk_of(start, stop)
        for name, backend in backends.items():
            taken[name] += seconds(partial(compute, model, batch, backend, caches[name]))
        speeds.append(product_speed())
        start = stop
        if stop in REPORTED or stop == num_tokens:
            products, attention = multiplications(stop, num_weights)
            floor_s = (products / product_gain + attention) / sorted(speeds)[len(speeds) // 2]
            speed = {name: f"{taken[name]:6.2f} s {stop / taken[name]:5.0f}/s" for name in backends}
            print(f"{stop:6}  {speed['C']}  {speed['torch']}  {taken['torch'] / taken['C']:5.2f}  {floor_s:6.2f} s  "
                  f"{taken['C'] / floor_s:6.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

"""One decode step of SmolVLM-256M's decoder (random float32 weights), native and by torch, in turn in one process.

    python -m benchmarks.decode_step [--threads 2] [--rounds 15]

Beside them the floor of this machine: its weights read once by as many threads. What it printed, and where:
benchmarks/decode_step.txt.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from datetime import date
from typing import TYPE_CHECKING, Any

import torch

from foveal.engine.runner import compute
from foveal.layers.attention.batch import AttentionBatch
from foveal.layers.attention.cpu import InPlace
from foveal.layers.decoder import Decoder, DecoderConfig
from foveal.layers.linear.load import Weights
from foveal.layers.linear.policy import policy_of
from foveal.layers.native.decoder import native_decoder
from foveal.models.family import InputBatch, Model

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE: dict[str, Any] = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49280,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e5,
    "tie_word_embeddings": True,
}
CASES = ((1, 128), (1, 2048), (4, 128), (16, 128), (32, 128), (64, 128))  # rows, tokens that each of them attends to
BLOCK_SIZE = 16
ENGINE = {"GOMP_SPINCOUNT": "3000"}


def random_decoder(quantization: str = "none") -> tuple[Decoder, int]:
    """The decoder, and the bytes of its layers in float32."""
    config = DecoderConfig.read(SHAPE)
    width, mlp, heads = SHAPE["hidden_size"], SHAPE["intermediate_size"], config.heads
    kv_width = heads.num_kv_heads * heads.head_dim
    layer = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (kv_width, width),
        "self_attn.v_proj": (kv_width, width),
        "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (mlp, width),
        "mlp.up_proj": (mlp, width),
        "mlp.down_proj": (width, mlp),
    }
    tensors = {
        "model.embed_tokens.weight": torch.randn(SHAPE["vocab_size"], width),
        "model.norm.weight": torch.ones(width),
    }
    for i in range(config.num_layers):
        prefix = f"model.layers.{i}"
        tensors |= {f"{prefix}.{name}.weight": torch.randn(size) / size[1] ** 0.5 for name, size in layer.items()}
        tensors |= {
            f"{prefix}.{name}.weight": torch.ones(width) for name in ("input_layernorm", "post_attention_layernorm")
        }
    num_bytes = sum(tensor.nbytes for name, tensor in tensors.items() if ".layers." in name)
    return Decoder.load(Weights(tensors, policy_of(quantization)), "model", "lm_head", config), num_bytes


def step_of(num_rows: int, seq_len: int) -> tuple[InputBatch, int]:
    """A row for each of `num_rows` sequences, and how many blocks they take."""
    per_sequence = -(-seq_len // BLOCK_SIZE)
    tables = [list(range(i * per_sequence, (i + 1) * per_sequence)) for i in range(num_rows)]
    slots = [table[-1] * BLOCK_SIZE + (seq_len - 1) % BLOCK_SIZE for table in tables]
    attention = AttentionBatch(range(num_rows + 1), [seq_len] * num_rows, tables, slots, BLOCK_SIZE)
    ids, positions = torch.arange(5, 5 + num_rows), torch.full((1, num_rows), seq_len - 1)
    return InputBatch(ids, positions, (), attention), per_sequence * num_rows


def in_turn(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each way."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started_s = time.perf_counter()
            way()
            taken[name].append(1000 * (time.perf_counter() - started_s))
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    if "GOMP_SPINCOUNT" not in os.environ:  # as the engine's process is started
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.decode_step", *sys.argv[1:]], os.environ | ENGINE)
    torch.set_num_threads(asked.threads)
    decoder, num_bytes = random_decoder()
    model = Model(decoder)
    print(f"{date.today()}, {platform.machine()}, {asked.threads} threads, load {os.getloadavg()[0]:.1f}")
    print("rows  context   native   torch   ratio   weights read once (ms)")
    weights = torch.ones(num_bytes // 4)
    for num_rows, seq_len in CASES:
        ms = measured(model, num_rows, seq_len, weights, asked.rounds)
        ratio = ms["torch"] / ms["native"]
        print(f"{num_rows:4}  {seq_len:7}  {ms['native']:7.1f} {ms['torch']:7.1f}  {ratio:6.2f}   {ms['read']:.1f}")


def measured(model: Model, num_rows: int, seq_len: int, weights: torch.Tensor, rounds: int) -> dict[str, float]:
    """Median milliseconds of one step in C and by torch, and of reading `weights` once."""
    batch, num_blocks = step_of(num_rows, seq_len)
    num_layers, num_kv_heads, head_dim = model.decoder.kv_shape
    kv_cache = torch.randn(num_layers, 2, num_blocks, BLOCK_SIZE, num_kv_heads, head_dim)
    native, backend = native_decoder(model.decoder, kv_cache, BLOCK_SIZE), InPlace(torch.device("cpu"))
    if native is None:
        raise SystemExit("there is no native step in this installation")
    ways: dict[str, Callable[[], object]] = {
        "native": lambda: compute(model, batch, backend, kv_cache, native),
        "torch": lambda: compute(model, batch, backend, kv_cache),
        "read": weights.sum,
    }
    with torch.inference_mode():
        return in_turn(ways, rounds)


if __name__ == "__main__":
    main()

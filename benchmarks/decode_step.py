"""A decode step of SmolVLM-256M's decoder (random weights), with logits: native in each form of weights, and by torch.

    python -m benchmarks.decode_step [--threads 2] [--rounds 9]

All ways take turns in one process. Beside each, the share of its time in which as many threads read its weights once.
What it printed, and where: benchmarks/decode_step.txt.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from foveal.engine.runner import compute
from foveal.layers.attention.batch import AttentionBatch
from foveal.layers.attention.cpu import InPlace
from foveal.layers.decoder import Decoder, DecoderConfig
from foveal.layers.linear.load import Weights
from foveal.layers.linear.policy import policy_of
from foveal.layers.linear.quantised import Quantised, QuantisedEmbedding
from foveal.layers.native.decoder import native_decoder
from foveal.models.family import InputBatch, Model

if TYPE_CHECKING:
    from collections.abc import Callable

    from foveal.layers.linear.form import Linear
    from foveal.layers.native.decoder import NativeDecoder

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
CASES = ((1, 128), (1, 2048), (1, 7900), (4, 128), (16, 128), (64, 128))  # rows, tokens that each of them attends to
FORMS = ("none", "int8", "int4")
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


def weight_bytes(decoder: Decoder) -> int:
    """Of all that a step multiplies by."""
    linears = [decoder.head]
    for layer in decoder.layers:
        linears += layer.linears
    return sum(map(_bytes_of, linears))


def _bytes_of(linear: Linear) -> int:
    if isinstance(linear, QuantisedEmbedding):
        linear = linear.product
    if isinstance(linear, Quantised):
        return linear.weight.nbytes
    return 4 * linear.in_features * linear.out_features


def step_of(num_rows: int, seq_len: int) -> tuple[InputBatch, int]:
    """A row for each of `num_rows` sequences, and how many blocks they take."""
    per_sequence = -(-seq_len // BLOCK_SIZE)
    tables = [list(range(i * per_sequence, (i + 1) * per_sequence)) for i in range(num_rows)]
    slots = [table[-1] * BLOCK_SIZE + (seq_len - 1) % BLOCK_SIZE for table in tables]
    attention = AttentionBatch(range(num_rows + 1), [seq_len] * num_rows, tables, slots, BLOCK_SIZE)
    ids, positions = torch.arange(5, 5 + num_rows), torch.full((1, num_rows), seq_len - 1)
    return InputBatch(ids, positions, (), attention), per_sequence * num_rows


def in_turn(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each way: of the clock, or of CPU time where one thread computes beside other programs."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started_s = clock()
            way()
            taken[name].append(1000 * (clock() - started_s))
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    if "GOMP_SPINCOUNT" not in os.environ:  # as the engine's process is started
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.decode_step", *sys.argv[1:]], os.environ | ENGINE)
    torch.set_num_threads(asked.threads)
    decoders = {form: random_decoder(form)[0] for form in FORMS}
    print(f"{date.today()}, {platform.machine()}, {asked.threads} threads, load {os.getloadavg()[0]:.1f}")
    print("ms a step, and in brackets how much of it reading the weights once takes")
    print("rows  context        float32           int8           int4    float32 by torch")
    for num_rows, seq_len in CASES:
        ms = measured(decoders, num_rows, seq_len, asked.rounds)
        columns = [f"{ms[form]:7.1f} ({ms['read ' + form] / ms[form]:4.0%})" for form in FORMS]
        print(f"{num_rows:4}  {seq_len:7} {'  '.join(columns)}    {ms['torch']:7.1f}", flush=True)


def measured(decoders: dict[str, Decoder], num_rows: int, seq_len: int, rounds: int) -> dict[str, float]:
    """Median milliseconds of one step each way, and of reading each form's weights once."""
    batch, num_blocks = step_of(num_rows, seq_len)
    num_layers, num_kv_heads, head_dim = decoders["none"].kv_shape
    kv_cache = torch.randn(num_layers, 2, num_blocks, BLOCK_SIZE, num_kv_heads, head_dim)
    backend = InPlace(torch.device("cpu"))

    def step(decoder: Decoder, native: NativeDecoder | None) -> object:
        hidden = compute(Model(decoder), batch, backend, kv_cache, native)
        return (native or decoder).logits(hidden).max(dim=-1)

    ways: dict[str, Callable[[], object]] = {"torch": partial(step, decoders["none"], None)}
    for form, decoder in decoders.items():
        native = native_decoder(decoder, kv_cache, BLOCK_SIZE)
        if native is None:
            raise SystemExit("there is no native step in this installation")
        ways[form] = partial(step, decoder, native)
        ways[f"read {form}"] = torch.ones(weight_bytes(decoder) // 4).sum
    with torch.inference_mode():
        return in_turn(ways, rounds)


if __name__ == "__main__":
    main()

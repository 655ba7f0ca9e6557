"""What a GGUF file takes in memory and how fast it answers, here and in llama-server: the same file, the same threads.

    python -m benchmarks.gguf_files FILE ... [--llama /opt/llama.cpp/llama-server] [--threads 2]
    python -m benchmarks.gguf_files --make larger.gguf Q4_K --layers 48 FILE

The second writes a file of random weights, with the settings and the tokenizer of FILE.

Memory is the proportional share (PSS) of all processes of a server after it has answered: mapped pages are in it, and
what was used of the KV cache. What Foveal takes without a file is measured with foveal-mini, whose weights are small.

Results: docs/performance.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.compare.peers import Peer, Running, running, tree
from foveal.layers.linear.block_types import BY_NAME

NUM_WORDS, NUM_NEW, NUM_TIMES = 120, 64, 3
TYPES_OF_MIXED = {"Q4_K": {"ffn_down": "Q6_K", "attn_v": "Q6_K", "token_embd": "Q6_K"}}  # as in Q4_K_M, about


@dataclass(frozen=True)
class Measured:
    memory_bytes: int
    ready_s: float
    prompt_tokens_per_s: float
    new_tokens_per_s: float


# --- files ------------------------------------------------------------------------------------------------------------


def make(source: Path, target: Path, kind: str, num_layers: int) -> None:
    """The text part of a model, with random matrices, in more or fewer layers."""
    read = gguf.GGUFReader(source)
    old = read.fields["general.architecture"].contents()
    new = old.removesuffix("vl")  # whose decoders are the same, but for positions
    writer = gguf.GGUFWriter(target, new)
    for name, field in read.fields.items():
        if not name.startswith(("GGUF.", "general.architecture")) and "dimension_sections" not in name:
            value = num_layers if name == f"{old}.block_count" else field.contents()
            inner = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(name.replace(f"{old}.", f"{new}."), value, field.types[0], inner)
    rng = np.random.default_rng(0)
    for name, tensor in _repeated(read, num_layers):
        if len(tensor.shape) == 1:
            writer.add_tensor(name, np.array(tensor.data))
            continue
        chosen = next((other for word, other in TYPES_OF_MIXED.get(kind, {}).items() if word in name), kind)
        blocks = random_blocks(rng, chosen, tuple(map(int, tensor.shape[::-1])))
        writer.add_tensor(name, blocks, raw_dtype=gguf.GGMLQuantizationType[chosen])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _repeated(read: Any, num_layers: int) -> Iterator[tuple[str, Any]]:
    """Names of the new file's tensors, each with one of the same kind: the first layer's, for every layer."""
    for tensor in read.tensors:
        if not tensor.name.startswith("blk."):
            yield tensor.name, tensor
        elif tensor.name.startswith("blk.0."):
            for layer in range(num_layers):
                yield tensor.name.replace("blk.0.", f"blk.{layer}."), tensor


def random_blocks(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Random bits, with scales in half precision that make weights of some hundredths around zero."""
    stored = BY_NAME[kind]
    blocks = rng.integers(0, 256, (shape[0], shape[1] // stored.block_weights, stored.block_bytes), np.uint8)
    for place, scale in SCALES[kind].items():
        blocks[..., place : place + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    return blocks.reshape(shape[0], -1)


SCALES = {  # where a block has them
    "Q4_0": {0: 4e-3},
    "Q8_0": {0: 3e-4},
    "Q4_K": {0: 1e-4, 2: 7.5e-4},
    "Q6_K": {208: 1e-5},
}


# --- servers ----------------------------------------------------------------------------------------------------------


def measure(peer: Peer) -> Measured:
    with running(peer) as server, httpx.Client(base_url=server.url, timeout=600) as client:
        model = client.get("/models").json()["data"][0]["id"]
        prompts, decoded = [], []
        for number in range(NUM_TIMES):
            text = " ".join(f"{number}{word}" for word in range(NUM_WORDS))
            first_s, num_prompt, _ = ask(client, model, text, 1)
            again_s, _, _ = ask(client, model, text, 1)
            whole_s, _, num_new = ask(client, model, text, NUM_NEW)
            prompts.append(num_prompt / first_s)
            decoded.append((num_new - 1) / (whole_s - again_s))
        return Measured(memory_bytes(server), server.ready_s, statistics.median(prompts), statistics.median(decoded))


def ask(client: httpx.Client, model: str, prompt: str, max_tokens: int) -> tuple[float, int, int]:
    """Seconds, tokens of the prompt and tokens of the answer."""
    started_s = time.perf_counter()
    body = {"model": model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True}
    usage = client.post("/completions", json=body).raise_for_status().json()["usage"]
    return time.perf_counter() - started_s, usage["prompt_tokens"], usage["completion_tokens"]


def memory_bytes(server: Running) -> int:
    """Of all its processes, shared pages in proportion."""
    rolled = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in tree(server.pid)]
    return sum(int(text.split("Pss:")[1].split()[0]) * 1024 for text in rolled)


def foveal(threads: str, *model: str) -> Peer:
    serve = (sys.executable, "-m", "foveal", "serve", *model, "--threads", threads, "--port", "PORT")
    return Peer("Foveal", serve, "/readyz")


def llama_cpp(program: str, threads: str, file: Path) -> Peer:
    room = ("-c", "2048", "-np", "1", "-t", threads)
    return Peer("llama.cpp", (program, "-m", str(file), *room, "--port", "PORT"), "/health")


def row(file: Path, peer: Peer, without_model: int) -> str:
    found, size = measure(peer), file.stat().st_size
    memory = f"{found.memory_bytes / 1e6:.0f} | {(found.memory_bytes - without_model) / size:.2f}"
    speeds = f"{found.ready_s:.1f} | {found.prompt_tokens_per_s:.3g} | {found.new_tokens_per_s:.3g}"
    return f"| {file.stem}, {size / 1e6:.0f} | {peer.name} | {memory} | {speeds} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--llama", help="where llama-server is")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--make", nargs=2, metavar=("TARGET", "TYPE"), help=f"TYPE: one of {', '.join(SCALES)}")
    parser.add_argument("--layers", type=int, default=48, help="of the file that is made")
    asked = parser.parse_args()
    if asked.make:
        make(asked.files[0], Path(asked.make[0]), asked.make[1], asked.layers)
        return
    with running(foveal(asked.threads)) as server:
        without_model = memory_bytes(server)
    print(f"Foveal with foveal-mini: {without_model / 1e6:.0f} MB")
    print("| file, MB | | memory, MB | less that / the file | ready, s | prompt, tokens/s | decoding, tokens/s |")
    print("|---|---|---|---|---|---|---|")
    for file in asked.files:
        print(row(file, foveal(asked.threads, str(file)), without_model), flush=True)
        if asked.llama:
            print(row(file, llama_cpp(asked.llama, asked.threads, file), 0), flush=True)


if __name__ == "__main__":
    main()

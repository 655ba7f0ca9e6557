"""Loads every family at a published size, with random weights in shards, and asks it about an image over HTTP.

    python -m benchmarks.real_shapes [NAME ...]      (make shapes; all of published_sizes.py by default)

A checkpoint is written like a published one: its tensor names, shards of at most 5 GB, an index, and its dtype. But its
weights repeat one random block, and its tokenizer has only bytes and special tokens. `foveal serve FOLDER` loads it
while the engine's memory is measured. Mapped weights count as file pages, which the kernel can drop; a second copy of
them would be anonymous memory. The folder is deleted before the next one is written.

Results: benchmarks/real_shapes.txt.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import platform
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers.core_model_loading import revert_weight_conversion

from benchmarks.published_sizes import PUBLISHED, Published
from tests.builders import phi3_v_shapes

Shapes = dict[str, tuple[int, ...]]

MAX_SHARD_BYTES = 5_000_000_000
BLOCK_BYTES = 32 << 20
SETTINGS = "[engine]\nkv_cache_bytes = 1073741824\nstep_timeout_s = 900.0\n"
ANSWER_TIMEOUT_S = 900
PICTURE_SIZE = (640, 480)
SAFETENSORS_DTYPES = {"bfloat16": "BF16", "float16": "F16"}


# --- a checkpoint -----------------------------------------------------------------------------------------------------


def write_checkpoint(folder: Path, published: Published) -> int:
    """Write a checkpoint; returns the bytes of its weights."""
    config = published.config | {"torch_dtype": published.dtype}
    vocab_size = config.get("text_config", config).get("vocab_size", 128256)
    shapes = tensor_shapes(published)
    write_json(folder / "config.json", config if config["model_type"] == "phi3_v" else full_config(config))
    write_json(folder / "preprocessor_config.json", published.images)
    tokenizer(published.special_tokens, max(vocab_size, max(published.special_tokens.values()) + 1)).save(
        str(folder / "tokenizer.json")
    )
    return write_weights(folder, shapes, published.dtype)


def full_config(config: dict[str, Any]) -> dict[str, Any]:
    return dict(transformers.AutoConfig.for_model(**config).to_dict())


def tensor_shapes(published: Published) -> Shapes:
    """Names and shapes as in a published checkpoint; nothing is allocated."""
    if published.config["model_type"] == "phi3_v":
        return phi3_v_shapes(published.config)
    config = transformers.AutoConfig.for_model(**published.config)
    with torch.device("meta"):
        model = transformers.AutoModelForImageTextToText.from_config(config)
    tensors = {name: x for name, x in model.state_dict().items() if name not in model.all_tied_weights_keys}
    return {name: tuple(x.shape) for name, x in revert_weight_conversion(model, tensors).items()}


def tokenizer(special_tokens: dict[str, int], size: int) -> Tokenizer:
    """One token for each byte, the special tokens at their published ids, unused names elsewhere."""
    by_id = {token_id: token for token, token_id in special_tokens.items()}
    free = (token_id for token_id in range(size) if token_id not in by_id)
    names = dict(zip(free, ["<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())], strict=False))
    vocab = {by_id.get(i) or names.get(i) or f"unused{i}": i for i in range(size)}
    built = Tokenizer(models.BPE(vocab, [], unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special_tokens])
    return built


def write_weights(folder: Path, shapes: Shapes, dtype: str) -> int:
    shards: list[Shapes] = [{}]
    for name, shape in shapes.items():
        if 2 * sum(map(prod, shards[-1].values())) + 2 * prod(shape) > MAX_SHARD_BYTES:
            shards.append({})
        shards[-1][name] = shape
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_shard(folder / file, shard, dtype)
        weight_map |= dict.fromkeys(shard, file)
    total_bytes = 2 * sum(map(prod, shapes.values()))
    write_json(
        folder / "model.safetensors.index.json", {"metadata": {"total_size": total_bytes}, "weight_map": weight_map}
    )
    return total_bytes


def write_shard(path: Path, shapes: Shapes, dtype: str) -> None:
    """One file: the header's length, the header, the tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * prod(shape)
        header[name] = {"dtype": SAFETENSORS_DTYPES[dtype], "shape": shape, "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name, shape in shapes.items():
            write_tensor(file, 2 * prod(shape), dtype, is_norm="norm" in name and name.endswith("weight"))


def write_tensor(file: io.BufferedWriter, num_bytes: int, dtype: str, is_norm: bool) -> None:
    """Ones for a norm's weight, otherwise the random block, repeated."""
    block = torch.ones(BLOCK_BYTES // 2) if is_norm else 0.02 * torch.from_numpy(_NOISE)
    data = block.to(getattr(torch, dtype)).view(torch.int16).numpy().data.cast("B")
    while num_bytes > 0:
        num_bytes -= file.write(data[: min(num_bytes, BLOCK_BYTES)])


_NOISE = np.random.default_rng(0).standard_normal(BLOCK_BYTES // 2, dtype=np.float32)


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


# --- a server ---------------------------------------------------------------------------------------------------------


@dataclass
class EngineMemory:
    """The largest memory of the engine's process, in bytes, sampled every 50 ms."""

    process: subprocess.Popen[str]
    peak: dict[str, int] = field(default_factory=dict)  # of VmRSS, RssAnon, RssFile, RssShmem

    def watch(self) -> None:
        """Sample until the server has ended."""
        while self.process.poll() is None:
            for pid in children(self.process.pid):
                self._look(pid)
            time.sleep(0.05)

    def _look(self, pid: int) -> None:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:  # it has just ended
            return
        for name, kib in re.findall(r"^(VmRSS|Rss\w+):\s+(\d+) kB", status, re.MULTILINE):
            self.peak[name] = max(self.peak.get(name, 0), int(kib) * 1024)


def children(pid: int) -> list[int]:
    """A process's children. Only the engine is large: the image workers have no torch."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, float, EngineMemory]]:
    """A ready server's URL, the seconds from its start until it was ready, and its engine's memory."""
    settings = folder / "foveal.toml"
    settings.write_text(SETTINGS)
    command = [sys.executable, "-m", "foveal", "serve", str(folder), "--port", "0", "--config", str(settings)]
    started_s = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        memory = EngineMemory(process)
        threading.Thread(target=memory.watch, daemon=True).start()
        try:
            yield ready_url(process), time.perf_counter() - started_s, memory
        finally:
            process.terminate()


def ready_url(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"Ready after .*? s: (http\S+/v1)", line):
            return found[1]
    raise SystemExit("the server did not start:\n" + "".join(said[-20:]))


def ask(url: str) -> tuple[dict[str, Any], float]:
    """The answer to a question about an image, and the seconds that it took."""
    encoded = io.BytesIO()
    Image.effect_noise(PICTURE_SIZE, 80).convert("RGB").save(encoded, "PNG")
    picture = "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()
    content = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": "What is it?"}]
    messages = [{"role": "user", "content": content}]
    started_s = time.perf_counter()
    body = {"messages": messages, "max_tokens": 8, "temperature": 0, "ignore_eos": True}
    with httpx.Client(timeout=ANSWER_TIMEOUT_S) as client:
        body["model"] = client.get(f"{url}/models").json()["data"][0]["id"]
        response = client.post(f"{url}/chat/completions", json=body)
    if response.is_error:
        raise SystemExit(f"the server answered {response.status_code}: {response.text}")
    return response.json(), time.perf_counter() - started_s


def measure(name: str, folder: Path) -> str:
    """One line of the table."""
    weight_bytes = write_checkpoint(folder, PUBLISHED[name])
    with server(folder) as (url, ready_s, memory):
        loaded_anon = memory.peak["RssAnon"]
        answer, answer_s = ask(url)
    usage, peak = answer["usage"], memory.peak
    num_images, num_answer = usage["prompt_tokens_details"]["image_tokens"], usage["completion_tokens"]
    gigabytes = [weight_bytes, loaded_anon, peak["VmRSS"], peak["RssFile"], peak["RssAnon"]]
    columns = [f"{x / 1e9:6.2f}" for x in gigabytes] + [f"{ready_s:6.1f}", f"{num_images:6}", f"{answer_s:7.1f}"]
    return f"{name:42}  {' '.join(columns)}  {num_answer} tokens  {PUBLISHED[name].note}".rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--folder", help="where the checkpoints are written (default: the system's temporary folder)")
    arguments = parser.parse_args()
    print(f"{date.today()}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print(f"{'':42} {'weights':>7} {'loaded':>6} {'engine at its peak':>20} {'ready':>6} {'image':>6} {'answer':>7}")
    units = f"{'GB':>7} {'anon':>6} {'all':>6} {'file':>6} {'anon':>6} {'s':>6} {'tokens':>6} {'s':>7}"
    print(f"{'':42} {units}", flush=True)
    for name in arguments.names or PUBLISHED:
        with TemporaryDirectory(dir=arguments.folder) as folder:
            print(measure(name, Path(folder)), flush=True)


if __name__ == "__main__":
    main()

"""A model in blocks is served in the memory of its file: nothing is held twice, and no copy is kept on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np

from tests.models.gguf.convert import add_tokenizer
from tests.parity.references import save_tokenizer

# 24 layers are some 100 MB of Q4_0. A second copy of queries and keys alone would be a fourth of that.
VOCAB, WIDTH, HEADS, SMALL, LARGE = 300, 1024, 16, 1, 24
KIND = gguf.GGMLQuantizationType.Q4_0
MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
PROGRAM = """
import asyncio, re, sys
from pathlib import Path
from foveal.arena import PixelArena
from foveal.config import EngineConfig
from foveal.engine_client.local import LocalEngine
from foveal.models.gguf.folder import folder_of
from foveal.types import Prompt, SamplingParams

async def run():
    config = EngineConfig(kv_cache_bytes=1 << 25, num_threads=1)
    engine = await LocalEngine.start(str(folder_of(Path(sys.argv[1]))), config, PixelArena.create(1 << 20))
    async with engine.submit(Prompt((1, 70, 80, 90)), SamplingParams(max_tokens=3, ignore_eos=True)) as stream:
        async for token in stream:
            pass
    print(re.search(r"Pss:\\s+(\\d+)", Path("/proc/self/smaps_rollup").read_text())[1])
    await engine.close()

asyncio.run(run())
"""


def write(path: Path, folder: Path, num_layers: int) -> Path:
    """A Llama whose matrices are one of random numbers, with the tokenizer of a folder."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(num_layers)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    add_tokenizer(writer, folder, VOCAB)
    numbers = np.random.default_rng(0).standard_normal((WIDTH, WIDTH), np.float32) / WIDTH**0.5
    blocks = gguf.quants.quantize(numbers, KIND)
    names = [f"blk.{i}.{name}.weight" for i in range(num_layers) for name in MATRICES]
    for name in [*names, "token_embd.weight"]:
        writer.add_tensor(name, blocks if name in names else blocks[:VOCAB], raw_dtype=KIND)
    norms = [f"blk.{i}.{name}_norm.weight" for i in range(num_layers) for name in ("attn", "ffn")]
    for name in [*norms, "output_norm.weight"]:
        writer.add_tensor(name, np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def served_bytes(file: Path, caches: Path) -> int:
    """The proportional share of memory of a process that answers from a file, mapped pages included."""
    environment = os.environ | {"XDG_CACHE_HOME": str(caches), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout) * 1024


def test_what_a_larger_file_takes_more_is_less_than_115_hundredths_of_it(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, ())
    small, large = (write(tmp_path / f"{n}.gguf", tmp_path, n) for n in (SMALL, LARGE))
    caches = tmp_path / "caches"

    more = served_bytes(large, caches) - served_bytes(small, caches)

    assert more < 1.15 * (large.stat().st_size - small.stat().st_size)
    assert not (caches / "foveal" / "quantised").exists()

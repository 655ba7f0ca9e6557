"""None of the server's children knows its secrets, imports from the folder that it was started in, or shares its files.

A program that is to be a server starts one child of each kind, in a folder full of modules that nobody should import.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from foveal.arena import PixelArena
from foveal.config import EngineConfig, ImageConfig
from foveal.engine_client.grammar_check import GrammarCheck
from foveal.engine_client.supervisor import EngineProcess
from foveal.media.pool import WorkerPool
from foveal.media.protocol import Measure
from foveal.types import Grammar
from tests.builders import byte_tokenizer
from tests.engine.toy import LOADER, write_toy
from tests.media.builders import png
from tests.media.tiny import LOAD_TINY

SECRETS = {
    "FOVEAL_HTTP_API_KEYS": "secret-1",
    "HF_TOKEN": "secret-2",
    "NVIDIA_API_KEY": "secret-3",
    "AWS_SECRET_ACCESS_KEY": "secret-4",
}
TRAPS = ("foveal", "msgspec", "numpy", "torch", "llguidance", "PIL", "json", "signal", "tests", "sitecustomize")
KINDS = ("decoding", "grammars", "engine")
SERVER = "import sys; from tests.faults.test_children import serve; serve(*sys.argv[1:])"


def serve(toy: str, tokenizer: str) -> None:
    """The program: says what the kernel says of each child."""
    with open(toy) as file:
        os.set_inheritable(file.fileno(), True)
        print(json.dumps(asyncio.run(_children(toy, Path(tokenizer)))), flush=True)


async def _children(toy: str, tokenizer: Path) -> dict[str, Any]:
    arena = PixelArena.create(1 << 16)
    pool = WorkerPool(ImageConfig(num_workers=1), arena, LOAD_TINY, "")
    check = GrammarCheck(tokenizer)
    config = EngineConfig(device="cpu", dtype="float32", num_threads=1, block_size=4, kv_cache_bytes=1 << 16)
    engine = await EngineProcess.start(str(Path(toy).parent), config, arena, load_model=LOADER)
    await pool.run(Measure(png()))
    await check.translate(Grammar("json_schema", "{}"))
    assert check._worker is not None
    assert engine.pid is not None
    facts = [_facts(pid) for pid in (*pool.pids, check._worker.pid, engine.pid)]
    await asyncio.gather(pool.close(), check.close(), engine.close())
    return dict(zip(KINDS, facts, strict=True))


def _facts(pid: int) -> dict[str, Any]:
    process = Path(f"/proc/{pid}")
    return {
        "environment": (process / "environ").read_text(),
        "command": (process / "cmdline").read_text(),
        "files": [str(file.readlink()) for file in (process / "fd").iterdir()],
        "session": os.getsid(pid) == pid,
    }


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    started_in, checkpoints = tmp_path_factory.mktemp("started-in"), tmp_path_factory.mktemp("checkpoints")
    for name in TRAPS:
        (started_in / f"{name}.py").write_text(f"raise SystemExit('imported from the folder: {name}')")
    toy = Path(write_toy(checkpoints)) / "config.json"
    byte_tokenizer(("<|end|>",)).save(str(checkpoints / "tokenizer.json"))
    root = str(Path(__file__).parents[2])
    server = subprocess.run(
        [sys.executable, "-P", "-c", SERVER, str(toy), str(checkpoints)],
        cwd=started_in,
        env=os.environ | SECRETS | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert server.returncode == 0, server.stderr
    found: dict[str, Any] = json.loads(server.stdout)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_knows_no_secret_and_not_where_the_server_was_started(children: dict[str, Any], kind: str) -> None:
    known = children[kind]["environment"] + children[kind]["command"]

    assert "foveal.workers.child" in known
    assert "secret" not in known
    assert "started-in" not in known


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_has_its_own_descriptors_and_no_others(children: dict[str, Any], kind: str) -> None:
    files = children[kind]["files"]

    assert sum(file.startswith("socket:") for file in files) == 1
    assert any("foveal-pixels" in file for file in files) == (kind != "grammars")
    assert not [file for file in files if "config.json" in file]


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_is_out_of_reach_of_the_terminal(children: dict[str, Any], kind: str) -> None:
    assert children[kind]["session"]

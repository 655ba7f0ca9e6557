"""The programs that are compared: which are there, how each is started, and when it can be asked."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.compare.shapes import checkpoint, twin

START_TIMEOUT_S = 900.0
NUM_SLOTS, SLOT_TOKENS = 16, 1536  # of servers that want to know it at their start
LAST_BYTES = 2000  # of what a server said, for an error
IN_PROCESS = Path(__file__).parent / "in_process.py"


class NotStarted(Exception):
    """A program ended, or was not ready in time."""


@dataclass(frozen=True)
class Peer:
    """One column of the table."""

    name: str
    command: tuple[str, ...]
    ready_path: str
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("Foveal")


@dataclass(frozen=True)
class Programs:
    """Where programs are, as found or as named on the command line. None: not there."""

    llama: str | None
    vllm: str | None
    gguf: str | None  # a Python with the package gguf
    transformers: str | None  # a Python with transformers and torch


def find(named: Mapping[str, str]) -> Programs:
    """Programs on PATH and packages of this Python, unless `named` has another place."""
    here = {name: sys.executable for name in ("gguf", "transformers") if importlib.util.find_spec(name)}
    return Programs(
        named.get("llama") or shutil.which("llama-server"),
        named.get("vllm") or shutil.which("vllm"),
        named.get("gguf") or here.get("gguf"),
        named.get("transformers") or here.get("transformers"),
    )


def peers(programs: Programs, cache: Path, shape: str) -> list[Peer]:
    """All that can be started, ours first. GGUF files are written here, so this can take minutes."""
    folder = str(checkpoint(cache, shape))
    return [*_ours(folder), *_llama(programs, cache, shape), *_vllm(programs, folder), *_transformers(programs, folder)]


def _ours(folder: str) -> Iterator[Peer]:
    serve = (sys.executable, "-m", "foveal", "serve", folder, "--port", "PORT")
    yield Peer("Foveal", serve, "/readyz")
    yield Peer("Foveal float32", (*serve, "--dtype", "float32", "--quantization", "none"), "/readyz")
    for width in ("int8", "int4"):
        yield Peer(f"Foveal {width}", (*serve, "--quantization", width), "/readyz")


def _llama(programs: Programs, cache: Path, shape: str) -> Iterator[Peer]:
    """Decoders of three widths. The vision part is as wide, but at least in 8 bits, as published files are."""
    if programs.llama is None or programs.gguf is None:
        return
    room = ("-c", str(NUM_SLOTS * SLOT_TOKENS), "-np", str(NUM_SLOTS))
    for width, vision in (("q8_0", "q8_0"), ("q4_0", "q8_0"), ("f16", "f16")):
        decoder, _ = twin(cache, shape, width, programs.gguf)
        _, tower = twin(cache, shape, vision, programs.gguf)
        files = ("-m", str(decoder), "--mmproj", str(tower))
        yield Peer(f"llama.cpp {width}", (programs.llama, *files, *room, "--port", "PORT"), "/health")


def _vllm(programs: Programs, folder: str) -> Iterator[Peer]:
    if programs.vllm is not None:
        room = ("--max-model-len", "4096", "--max-num-seqs", str(NUM_SLOTS))
        command = (programs.vllm, "serve", folder, *room, "--dtype", "bfloat16", "--port", "PORT")
        yield Peer("vLLM bf16", command, "/health", {"VLLM_CPU_KVCACHE_SPACE": "2"})


def _transformers(programs: Programs, folder: str) -> Iterator[Peer]:
    if programs.transformers is not None:
        for dtype in ("float32", "bfloat16"):
            command = (programs.transformers, str(IN_PROCESS), "transformers", folder, dtype, "PORT")
            yield Peer(f"transformers {dtype}", command, "/health")


# --- running one ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    url: str
    ready_s: float  # from the process's start
    pid: int

    def peak_bytes(self) -> int:
        """Largest resident memory of the process and its children, each at its own largest."""
        return sum(_peak_bytes(pid) for pid in tree(self.pid))


@contextmanager
def running(peer: Peer) -> Iterator[Running]:
    """Starts a server, and ends it. Raises NotStarted. Errors get a note with what the server said last."""
    port = _free_port()
    command = [str(port) if word == "PORT" else word for word in peer.command]
    with tempfile.TemporaryFile() as said:
        started_s = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=said, stderr=said, env=os.environ | dict(peer.env), start_new_session=True
        )
        try:
            ready_s = _wait(process, f"http://127.0.0.1:{port}{peer.ready_path}", started_s)
            if ready_s is None:
                raise NotStarted("it did not start")
            yield Running(f"http://127.0.0.1:{port}/v1", ready_s, process.pid)
        except Exception as error:
            said.seek(0)
            error.add_note(said.read()[-LAST_BYTES:].decode(errors="replace"))
            raise
        finally:
            _end(process)


def _wait(process: subprocess.Popen[bytes], url: str, started_s: float) -> float | None:
    """Seconds until it answered 200. None if it ended or took too long."""
    with httpx.Client(trust_env=False, timeout=5) as client:
        while process.poll() is None and time.perf_counter() < started_s + START_TIMEOUT_S:
            with suppress(httpx.HTTPError):
                if client.get(url).status_code == httpx.codes.OK:
                    return time.perf_counter() - started_s
            time.sleep(0.01)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """With its children, which share its session."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def tree(pid: int) -> list[int]:
    children: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            children += map(int, path.read_text().split())
    return [pid, *(each for child in children for each in tree(child))]


def _peak_bytes(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0

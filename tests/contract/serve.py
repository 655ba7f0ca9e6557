"""`foveal serve` as a person starts it: a process of its own, with the model inside the package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "sk-of-the-contract-tests"
MODEL = "foveal-mini"
READY_S = 300.0
COMMAND = [sys.executable, "-m", "foveal", "serve", "--port", "0", "--threads", "1"]


@dataclass(frozen=True)
class Served:
    url: str  # http://127.0.0.1:port

    def post(self, path: str, body: object, key: str = KEY) -> httpx.Response:
        return httpx.post(self.url + path, json=body, headers={"authorization": f"Bearer {key}"}, timeout=300)


@contextmanager
def serving(log: Path, **settings: str) -> Iterator[Served]:
    """A server that is ready. `settings` are its environment variables; `log` is where it says what it does."""
    environment = os.environ | {"FOVEAL_HTTP_API_KEYS": KEY, "OMP_NUM_THREADS": "1"} | settings
    with log.open("w") as stderr, subprocess.Popen(COMMAND, stderr=stderr, env=environment) as process:
        try:
            yield Served(_url_when_ready(process, log))
        finally:
            process.terminate()


def _url_when_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline_s = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < deadline_s:
        if found := re.search(r"Ready after .* s: (http://\S+)/v1", log.read_text()):
            return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"the server did not become ready:\n{log.read_text()}")

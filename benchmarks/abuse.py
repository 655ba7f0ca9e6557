"""Measures what a bystander notices of a client that attacks: time to the first token, and gaps between tokens.

The bystander asks about one new picture after the other, each behind a URL, with streamed answers. It does so alone,
and then beside each attack of benchmarks/attacks.py (A1 to A8 of docs/security.md). Both have a key at one server with
foveal-mini, which has its default settings.

    python -m benchmarks.abuse [--attack A1] [--seconds 6]

Results: docs/security.md.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import math
import multiprocessing
import os
import platform
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import httpx
import numpy as np
from PIL import Image

from benchmarks.attacks import ATTACKS, MODEL, attack
from benchmarks.real_shapes import ready_url

if TYPE_CHECKING:
    from collections.abc import Iterator

ATTACKER, BYSTANDER = "attacker", "bystander"
NUM_TOKENS = 24
NUM_ANSWERS = 1000
TIMEOUT_S = 60
BEGIN_S = 1.5  # an attack has so long to begin before it counts
_numbers = itertools.count()


@dataclass(slots=True)
class Seen:
    """What the bystander saw."""

    first_token_ms: list[float] = field(default_factory=list)
    gap_ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Pictures(BaseHTTPRequestHandler):
    """Each path is another picture."""

    def do_GET(self) -> None:
        pixels = np.random.default_rng(abs(hash(self.path))).integers(0, 255, (64, 64, 3), np.uint8)
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "PNG")
        self.send_response(200)
        self.send_header("content-length", str(len(encoded.getvalue())))
        self.end_headers()
        self.wfile.write(encoded.getvalue())

    def log_message(self, *_: object) -> None:
        """Nothing is said."""


@contextmanager
def picture_server() -> Iterator[int]:
    """The port of a server on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextmanager
def foveal(folder: Path, pictures_port: int) -> Iterator[str]:
    """The URL of a server with a key for each of the two."""
    settings = folder / "abuse.toml"
    settings.write_text(
        f'[http]\napi_keys = ["{ATTACKER}", "{BYSTANDER}"]\n'
        f'[images]\nallowed_hosts = ["localhost:{pictures_port}"]\nallowed_ports = [80, 443, {pictures_port}]\n'
    )
    command = [sys.executable, "-m", "foveal", "serve", MODEL, "--port", "0", "--config", str(settings)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = ready_url(process)
            threading.Thread(target=process.stderr.read if process.stderr else None, daemon=True).start()
            yield url
        finally:
            process.kill()


@contextmanager
def under(name: str | None, url: str) -> Iterator[None]:
    """While this attack goes on; None: none."""
    if name is None:
        yield
        return
    context = multiprocessing.get_context("spawn")
    begins = context.Event()
    process = context.Process(target=attack, args=(name, url, ATTACKER, begins), daemon=True)
    process.start()
    try:
        begins.wait()
        time.sleep(BEGIN_S)
        yield
    finally:
        process.kill()
        process.join()


def bystander(url: str, pictures_port: int, num_answers: int, seconds: float = math.inf) -> Seen:
    """What it saw of so many answers, or of those in so many seconds."""
    seen = Seen()
    ends_s = time.monotonic() + seconds
    with httpx.Client(timeout=TIMEOUT_S, headers={"authorization": f"Bearer {BYSTANDER}"}) as client:
        for _ in range(num_answers):
            if time.monotonic() > ends_s:
                break
            ask(client, url, f"http://localhost:{pictures_port}/{next(_numbers)}", seen)
    return seen


def ask(client: httpx.Client, url: str, picture_url: str, seen: Seen) -> None:
    content = [{"type": "image_url", "image_url": {"url": picture_url}}, {"type": "text", "text": "What is it?"}]
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": NUM_TOKENS}
    body |= {"stream": True, "ignore_eos": True, "return_token_ids": True}
    asked_s = time.perf_counter()
    times: list[float] = []
    try:
        with client.stream("POST", f"{url}/chat/completions", json=body) as response:
            if response.is_error:
                seen.failures.append(f"{response.status_code} {json.loads(response.read())['error']['message']}")
                time.sleep(0.05)
                return
            for line in response.iter_lines():
                choices = json.loads(line.removeprefix("data: ")).get("choices") if line.startswith("data: {") else ()
                if choices and choices[0].get("token_ids"):
                    times.append(time.perf_counter())
    except httpx.HTTPError as error:
        seen.failures.append(repr(error))
        return
    seen.first_token_ms.append(1000 * (times[0] - asked_s))
    seen.gap_ms += [1000 * (later - earlier) for earlier, later in pairwise(times)]


def row(label: str, seen: Seen) -> str:
    def quantiles(numbers: list[float]) -> str:
        return " / ".join(f"{np.quantile(numbers, q):.0f}" for q in (0.5, 0.99)) if numbers else "none"

    failures = f"{len(seen.failures)}: {seen.failures[0]}" if seen.failures else "0"
    num_answers = len(seen.first_token_ms)
    return f"| {label} | {num_answers} | {quantiles(seen.first_token_ms)} | {quantiles(seen.gap_ms)} | {failures} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attack", action="append", help="how its name begins, such as A1; default: all")
    parser.add_argument("--seconds", type=float, default=6.0, help="for each")
    arguments = parser.parse_args()
    chosen = [name for name in ATTACKS if name.startswith(tuple(arguments.attack or [""]))]
    print(f"{date.today()}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    print("| beside | answers | first token, p50 / p99 ms | gap, p50 / p99 ms | failures |\n|---|---|---|---|---|")
    with TemporaryDirectory() as name, picture_server() as port, foveal(Path(name), port) as url:
        bystander(url, port, 3)  # warms up
        for beside in (None, *chosen):
            with under(beside, url):
                print(row(beside or "nobody", bystander(url, port, NUM_ANSWERS, arguments.seconds)), flush=True)
            time.sleep(BEGIN_S)


if __name__ == "__main__":
    main()

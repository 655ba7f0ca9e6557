"""Measures how long running streams wait while the images, or the long prompt, of another request are computed.

Four streams run; another request comes, with eight new pictures or with a prompt of 4,000 tokens. What counts is the
time between two tokens of a stream until the other request has its first token, and the time until all five answers
have ended. Two servers take turns, one with a budget of time for each step and one without. The model has
SmolVLM-256M's shape and random weights.

    python -m benchmarks.interference [--budget-ms 100] [--beside pictures]

Results: benchmarks/interference.txt.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.published_sizes import PUBLISHED
from benchmarks.real_shapes import ready_url, write_checkpoint

NAME = "SmolVLM-256M-Instruct"
NUM_STREAMS, NUM_STREAM_TOKENS, NUM_TOKENS_FIRST = 4, 120, 5
NUM_IMAGES, SIDE, NUM_PROMPT_TOKENS = 8, 512, 4000
TIMES = 1

Content = str | list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Seen:
    """One round at one server."""

    gaps_s: list[float]  # between tokens of the streams, until the other request had its first token
    first_token_s: float  # of the other request
    wall_s: float  # until all answers had ended


@contextmanager
def server(folder: Path, budget_ms: float) -> Iterator[str]:
    """The URL of a server with this budget."""
    settings = folder / f"budget{budget_ms:.0f}.toml"
    settings.write_text(f"[engine]\nkv_cache_bytes = 1073741824\nstep_budget_ms = {budget_ms}\n")
    command = [sys.executable, "-m", "foveal", "serve", str(folder), "--port", "0", "--config", str(settings)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield ready_url(process)
        finally:
            process.terminate()


def pictures(seed: int) -> Content:
    """Eight pictures that no server has seen, each of one tile."""
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(NUM_IMAGES):
        encoded = io.BytesIO()
        Image.fromarray(random.integers(0, 255, (SIDE, SIDE, 3), np.uint8)).save(encoded, "PNG", compress_level=1)
        url = "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()
        parts.append({"type": "image_url", "image_url": {"url": url, "detail": "low"}})
    return [*parts, {"type": "text", "text": "What is different?"}]


def long_text(seed: int) -> Content:
    """The tokenizer has a token for each byte."""
    return "".join(np.random.default_rng(seed).choice(list("abcdefgh "), NUM_PROMPT_TOKENS))


def tokens_s(url: str, content: Content, max_tokens: int, on_token: threading.Semaphore | None = None) -> list[float]:
    """When each token of an answer came."""
    body = {"model": NAME, "messages": [{"role": "user", "content": content}], "max_tokens": max_tokens}
    body |= {"stream": True, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
    times = []
    with httpx.Client(timeout=600) as client, client.stream("POST", f"{url}/chat/completions", json=body) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            choices = json.loads(line.removeprefix("data: "))["choices"]
            if choices and choices[0].get("token_ids"):
                times.append(time.perf_counter())
                if on_token:
                    on_token.release()
    return times


def round_at(url: str, content: Content, seed: int) -> Seen:
    came = [threading.Semaphore(0) for _ in range(NUM_STREAMS)]
    with ThreadPoolExecutor(NUM_STREAMS + 1) as pool:
        streams = [pool.submit(tokens_s, url, f"{seed} {i}", NUM_STREAM_TOKENS, on) for i, on in enumerate(came)]
        for stream in came:
            for _ in range(NUM_TOKENS_FIRST):
                stream.acquire()
        asked_s = time.perf_counter()
        other = pool.submit(tokens_s, url, content, 8)
        first_s = other.result()[0]
        ended_s = max(stream.result()[-1] for stream in [*streams, other])
    gaps = [
        later - earlier
        for stream in streams
        for earlier, later in pairwise(stream.result())
        if later > asked_s and earlier < first_s
    ]
    return Seen(gaps, first_s - asked_s, ended_s - asked_s)


def show(label: str, rounds: list[Seen]) -> None:
    gaps_ms = sorted(1000 * gap for seen in rounds for gap in seen.gaps_s)
    p99 = gaps_ms[min(len(gaps_ms) - 1, int(0.99 * len(gaps_ms)))]
    median, longest = statistics.median(gaps_ms), gaps_ms[-1]
    first_s, wall_s = (
        statistics.median(getattr(seen, name) for seen in rounds) for name in ("first_token_s", "wall_s")
    )
    print(f"{label:34} {median:8.0f} {p99:8.0f} {longest:8.0f} {first_s:12.2f} {wall_s:8.2f}", flush=True)


BESIDE: dict[str, Callable[[int], Content]] = {"pictures": pictures, "text": long_text}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget-ms", type=float, default=100.0)
    parser.add_argument("--beside", choices=[*BESIDE], action="append", help="default: all")
    arguments = parser.parse_args()
    budget_ms: float = arguments.budget_ms
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name) / NAME
        folder.mkdir()
        write_checkpoint(folder, PUBLISHED[NAME])
        urls = {ms: stack.enter_context(server(folder, ms)) for ms in (budget_ms, 0.0)}
        print(f"{date.today()}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
        print(f"{NUM_STREAMS} streams, {NAME}'s shape, in turns")
        print(f"{'':34} {'gap p50':>8} {'p99':>8} {'longest':>8} {'first token':>12} {'all':>8}")
        print(f"{'':34} {'ms':>8} {'ms':>8} {'ms':>8} {'s':>12} {'s':>8}", flush=True)
        for label in arguments.beside or BESIDE:
            found: dict[float, list[Seen]] = {ms: [] for ms in urls}
            for number in range(TIMES):
                for ms, url in urls.items():
                    tokens_s(url, f"{label} {number}", 2)  # warms up
                    found[ms].append(round_at(url, BESIDE[label](number), number))
            for ms, rounds in found.items():
                show(f"{label}, {f'{ms:.0f} ms a step' if ms else 'no budget'}", rounds)
            walls = [statistics.median(seen.wall_s for seen in rounds) for rounds in found.values()]
            print(
                f"{label}: with the budget, all five answers took {walls[0] / walls[1]:.2f} times as long", flush=True
            )


if __name__ == "__main__":
    main()

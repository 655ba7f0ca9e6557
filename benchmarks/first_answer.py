"""Measures the waiting times of a first use over HTTP, with the bundled model.

These are the times from `foveal serve` to ready, and from a request to its first and its twentieth token. Requests are
about an image that the server has not seen, and about one that it has.

    python -m benchmarks.first_answer [--requests 20]

Results: benchmarks/first_answer.txt.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import httpx
from PIL import Image, ImageDraw

from foveal.engine.machine import cpu_bfloat16


@contextmanager
def server() -> Iterator[tuple[str, float]]:
    """A ready server's URL, and the seconds from its start until it was ready."""
    started_s = time.perf_counter()
    command = [sys.executable, "-m", "foveal", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.search(r"Ready after .*? s: (http\S+/v1)", line):
                    yield found[1], time.perf_counter() - started_s
                    break
        finally:
            process.terminate()


def picture(number: int) -> str:
    """A 512 x 512 image, different for each number, as a data URL."""
    image = Image.new("RGB", (512, 512), "white")
    ImageDraw.Draw(image).ellipse((100 + number, 120, 380, 400), "red")
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()


def ask(client: httpx.Client, url: str, image: str, max_tokens: int = 20) -> tuple[float, float]:
    """Seconds to the first text and to the end of a streamed answer of exactly `max_tokens`."""
    content = [{"type": "image_url", "image_url": {"url": image}}, {"type": "text", "text": "Describe the picture."}]
    body = {"model": "foveal-mini", "messages": [{"role": "user", "content": content}], "stream": True,
            "max_tokens": max_tokens, "ignore_eos": True}  # fmt: skip
    started_s, first_s = time.perf_counter(), 0.0
    with client.stream("POST", f"{url}/chat/completions", json=body) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if not first_s and line.startswith("data: {") and _has_text(line):
                first_s = time.perf_counter() - started_s
    return first_s, time.perf_counter() - started_s


def _has_text(line: str) -> bool:
    choices = json.loads(line.removeprefix("data: "))["choices"]
    return bool(choices and choices[0]["delta"].get("content"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20)
    count = parser.parse_args().requests
    with server() as (url, ready_s), httpx.Client(timeout=60) as client:
        first = ask(client, url, picture(0))
        unseen = [ask(client, url, picture(number)) for number in range(1, count + 1)]
        seen = [ask(client, url, picture(number)) for number in range(1, count + 1)]
    cpu = f"{platform.machine()}, bfloat16 instructions: {cpu_bfloat16()}"
    print(f"{date.today()}, {os.cpu_count()} cores, {cpu}, Python {platform.python_version()}")
    print(f"start to ready                              {ready_s:6.2f} s")
    print(f"very first request: first token, 20 tokens  {first[0]:6.3f} s {first[1]:6.3f} s")
    for name, times in (("unseen 512x512 picture", unseen), ("the same picture again", seen)):
        first_s, total_s = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name}: first token, 20 tokens {first_s:6.3f} s {total_s:6.3f} s   (median of {count})")


if __name__ == "__main__":
    main()

"""Measures how much a second busy server on the same machine slows an answer down.

An answer is 100 tokens of text over HTTP, by one server at a time and by both at once.

    python -m benchmarks.two_servers

Results: benchmarks/two_servers.txt. With `GOMP_SPINCOUNT=300000` OpenMP waits as it does by default.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import date

from training.evaluate import served

TIMES = 5
BODY = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100, "ignore_eos": True}


def seconds(url: str) -> float:
    body = json.dumps({"model": "foveal-mini", **BODY}).encode()
    request = urllib.request.Request(f"{url}/chat/completions", body, {"Content-Type": "application/json"})
    start = time.perf_counter()
    with urllib.request.urlopen(request, timeout=600) as response:
        response.read()
    return time.perf_counter() - start


def main() -> None:
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        urls = [stack.enter_context(served("foveal-mini")) for _ in range(2)]
        alone, together = list[float](), list[float]()
        for _ in range(TIMES + 1):  # alternately; the first round warms up
            alone += [seconds(url) for url in urls]
            together += pool.map(seconds, urls)
    one, both = (statistics.median(found[2:]) for found in (alone, together))
    print(f"{date.today()}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print(f"alone     {one:.2f} s   (median of {2 * TIMES})")
    print(f"together  {both:.2f} s   ({both / one:.1f} times as long)")


if __name__ == "__main__":
    main()

"""Measures HTTP overhead: a chat request with a 4 MB base64 image, and /healthz during ten of them.

    python -m benchmarks.http_overhead

The server is another process with a pipeline that answers at once, so all time measured is spent in http/ and the
client. Results: benchmarks/http_overhead.txt.
"""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import subprocess
import sys
import time
from random import Random

import httpx
import uvloop

from foveal.accounting.accounting import Accounting
from foveal.config import HttpConfig
from foveal.http.app import create_app
from foveal.http.server import create_server
from foveal.serving.served import ServedModels
from tests.fakes import FakePipeline

NUM_REQUESTS = 30
NUM_AT_ONCE = 10
IMAGE_BYTES = 3_000_000  # 4 MB as base64
PORT = 8765
URL = f"http://127.0.0.1:{PORT}"


def body() -> bytes:
    url = "data:image/png;base64," + base64.b64encode(Random(0).randbytes(IMAGE_BYTES)).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it?"}]
    return json.dumps({"model": "foveal-mini", "messages": [{"role": "user", "content": content}]}).encode()


def post(client: httpx.Client, content: bytes) -> float:
    started_s = time.perf_counter()
    client.post(
        "/v1/chat/completions", content=content, headers={"content-type": "application/json"}
    ).raise_for_status()
    return time.perf_counter() - started_s


def measure_one_by_one(client: httpx.Client, content: bytes) -> str:
    times_s = sorted(post(client, content) for _ in range(NUM_REQUESTS))
    return f"4 MB request: median {statistics.median(times_s) * 1e3:.1f} ms, worst {times_s[-1] * 1e3:.1f} ms"


def measure_health(client: httpx.Client) -> str:
    """Requests /healthz repeatedly while another process keeps ten requests running."""
    load = subprocess.Popen([sys.executable, "-m", "benchmarks.http_overhead", "load"])
    latencies_s = []
    while load.poll() is None:
        started_s = time.perf_counter()
        client.get("/healthz").raise_for_status()
        latencies_s.append(time.perf_counter() - started_s)
        time.sleep(0.001)
    latencies_s.sort()
    return (
        f"/healthz beside {NUM_AT_ONCE} such requests: median {statistics.median(latencies_s) * 1e3:.1f} ms, "
        f"99 % {latencies_s[len(latencies_s) * 99 // 100] * 1e3:.1f} ms, worst {latencies_s[-1] * 1e3:.1f} ms"
    )


async def load() -> None:
    content, headers = body(), {"content-type": "application/json"}
    async with httpx.AsyncClient(base_url=URL) as client:
        for _ in range(NUM_REQUESTS // NUM_AT_ONCE):
            posts = [client.post("/v1/chat/completions", content=content, headers=headers) for _ in range(NUM_AT_ONCE)]
            await asyncio.gather(*posts)


def serve() -> None:
    config, accounting = HttpConfig(port=PORT), Accounting()
    app = create_app(ServedModels([FakePipeline()]), config, accounting)
    uvloop.run(create_server(app, config, accounting).serve())


def main() -> None:
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.http_overhead", "serve"])
    try:
        with httpx.Client(base_url=URL, transport=httpx.HTTPTransport(retries=8)) as client:
            client.get("/healthz").raise_for_status()
            print(measure_one_by_one(client, body()))
            print(measure_health(client))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    role = sys.argv[1] if len(sys.argv) > 1 else ""
    if role == "load":
        asyncio.run(load())
    elif role == "serve":
        serve()
    else:
        main()

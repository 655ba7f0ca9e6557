"""Measures the cost of `foveal bench` itself: CPU time of its process for a request and a chunk, and requests a second.

    python -m benchmarks.bench_overhead

The server is another process that answers at once from a script (tests/bench/fake_server.py). So all time measured is
spent by the load generator. Results: benchmarks/bench_overhead.txt.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

import uvloop

from foveal.bench.client import Asker, open_client
from foveal.bench.clock import MonotonicClock
from foveal.bench.conversations import measured
from foveal.bench.records import Conversation, Server, Workload
from foveal.bench.run import Log, run
from foveal.types import Size

PORT = 8766
URL = f"http://127.0.0.1:{PORT}/v1"
NUM_REQUESTS = 400
CHUNKS = (1, 257)
SIDES = (64, 512, 1024)


@dataclass(frozen=True)
class Cost:
    requests_per_s: float
    chunks_per_s: float
    cpu_s: float  # a request


async def cost(workload: Workload) -> Cost:
    plan = list(measured(workload))  # drawn before the clock starts, as in a run

    async def take() -> Conversation | None:
        return plan.pop() if plan else None

    clock, log = MonotonicClock(), Log.of(1, lambda server, sample: None)
    server = Server(URL, "scripted")
    async with open_client(server, 60) as client:
        started_s, cpu_s = time.perf_counter(), time.process_time()
        await run([Asker(client, server, workload, clock)], workload, take, clock, log)
        took_s, used_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    assert all(sample.error is None for sample in log.samples[0])
    chunks = sum(len(sample.chunks_s) for sample in log.samples[0])
    return Cost(NUM_REQUESTS / took_s, chunks / took_s, used_s / NUM_REQUESTS)


def measure(num_chunks: int, side: int, concurrency: int) -> Cost:
    serve = [sys.executable, "-m", "tests.bench.fake_server", str(PORT), str(num_chunks)]
    workload = Workload(NUM_REQUESTS, concurrency=concurrency, smallest=Size(side, side), largest=Size(side, side))
    with subprocess.Popen(serve) as server:
        try:
            time.sleep(2.0)
            return uvloop.run(cost(workload))
        finally:
            server.terminate()


def main() -> None:
    for concurrency in (1, 16):
        short, long = (measure(num_chunks, 64, concurrency) for num_chunks in CHUNKS)
        chunk_s = (long.cpu_s - short.cpu_s) / (CHUNKS[1] - CHUNKS[0])
        print(
            f"{concurrency} at once: a request {short.cpu_s * 1e3:.2f} ms of CPU, a chunk {chunk_s * 1e6:.1f} us more; "
            f"at most {short.requests_per_s:,.0f} requests/s of one chunk, {long.chunks_per_s:,.0f} chunks/s"
        )
    for side in SIDES:
        print(f"a {side} x {side} JPEG: a request {measure(1, side, 1).cpu_s * 1e3:.2f} ms of CPU")


if __name__ == "__main__":
    main()

"""Images that crash or hang decoders or take too much memory: each fails its own request only, and leaks nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from foveal.config import MIB
from foveal.errors import ImageError
from foveal.media.pool import WorkerPool
from foveal.types import Caller
from tests.media.builders import encode, image_loader, plain, png, refs
from tests.media.tiny import SLOT_BYTES, TRAP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from foveal.types import ImageRef
    from tests.media.builders import Bench

SERVER = """
import asyncio, sys
from tests.media.builders import image_loader, png, refs
from tests.media.tiny import TRAP

async def main():
    async with image_loader(num_workers=2, trap="hang", decode_timeout_s=2.0) as bench:
        async with bench.loader.load(refs(png())):
            asyncio.create_task(bench.loader.load(refs(png("blue", TRAP))).__aenter__())
            await asyncio.sleep(0.3)
            print(*bench.loader.decoder.pids, flush=True)
            await asyncio.sleep(3600)

asyncio.run(main())
"""


@pytest.mark.parametrize("trap", ["hang", "crash", "grow", "fail"])
def test_requests_with_good_pictures_never_notice(trap: str) -> None:
    async def run() -> list[object]:
        async with image_loader(num_workers=2, trap=trap, decode_timeout_s=2.0) as bench:

            async def request(i: int) -> bool:
                async with bench.loader.load(refs(png((i, 0, 0)))) as (image,):
                    return bool(np.all(bench.arena.view(image.pixels) == (i, 0, 0)))

            async def attack(i: int) -> None:
                async with bench.loader.load(refs(png((0, i, 0), TRAP))):
                    raise RuntimeError("a trap that does not close")

            work = [request(i) if i % 10 else attack(i) for i in range(1, 31)]
            return list(await asyncio.gather(*work, return_exceptions=True))

    results = asyncio.run(run())

    good = [result for i, result in enumerate(results, 1) if i % 10]
    bad = [result for i, result in enumerate(results, 1) if not i % 10]
    assert good == [True] * 27
    assert all(isinstance(result, ImageError) for result in bad)


def test_large_pictures_of_clients_who_hung_up_delay_nobody() -> None:
    """50 requests of four pictures of 34 bytes each and 50 million pixels, and then nobody who waits for them."""

    async def run() -> int:
        async with image_loader(num_workers=2) as bench:
            large = encode(plain("white", (7071, 7071)), "WEBP", lossless=True)
            pictures = [large + bytes(i) for i in range(4)]
            attacks = [asyncio.create_task(load(bench, i, refs(*pictures))) for i in range(50)]
            async with bench.loader.load(refs(png())):  # so the workers have started, and are at it
                pass
            for attack in attacks:
                attack.cancel()
            await asyncio.gather(*attacks, return_exceptions=True)
            assert isinstance(bench.loader.decoder, WorkerPool)
            assert bench.loader.cache.num_pinned == 0
            return bench.loader.decoder.num_waiting

    assert asyncio.run(run()) == 0


def test_large_pictures_of_a_client_who_stays_delay_nobody_else() -> None:
    """Counted, not timed: a bystander's picture is there before the attacker's second."""

    async def run() -> int:
        async with image_loader(num_workers=2) as bench:
            large = encode(plain("white", (7071, 7071)), "WEBP", lossless=True)
            attacks = [asyncio.create_task(load(bench, 0, refs(large + bytes(i)))) for i in range(20)]
            async with bench.loader.load(refs(png()), Caller("r", "bystander")):
                num_done = sum(attack.done() for attack in attacks)
            for attack in attacks:
                attack.cancel()
            await asyncio.gather(*attacks, return_exceptions=True)
            return num_done

    assert asyncio.run(run()) <= 1


async def load(bench: Bench, number: int, wanted: list[ImageRef]) -> None:
    async with bench.loader.load(wanted, Caller(f"r{number}", "attacker"), b"attacker"):
        pass


@pytest.mark.slow
def test_memory_stays_flat() -> None:
    """300 pictures, 75 MiB as sent and 100 MiB decoded, and each of the two processes grows by less than 12 MiB."""
    noise = np.random.default_rng(5).integers(0, 256, MIB // 4, dtype=np.uint8).tobytes()

    async def run() -> tuple[int, int, int]:
        async with image_loader(num_workers=1, arena_bytes=40 * SLOT_BYTES) as bench:

            async def requests(numbers: Iterable[int]) -> list[int]:
                for i in numbers:
                    picture = png((i % 256, i // 256, 0), (350, 250)) + noise  # decoders read no further than they need
                    async with bench.loader.load(refs(picture)):
                        pass
                return [resident_bytes(pid) for pid in (os.getpid(), *pids(bench))]

            server, worker = await requests(range(50))
            server_after, worker_after = await requests(range(50, 350))
            assert bench.loader.cache.num_pinned == 0
            return server_after - server, worker_after - worker, bench.loader.cache.num_taken_bytes

    server_growth, worker_growth, taken = asyncio.run(run())

    assert server_growth < 12 * MIB
    assert worker_growth < 12 * MIB
    assert taken <= 40 * SLOT_BYTES


def test_descriptors_stay_flat_while_decoders_die() -> None:
    async def run() -> list[int]:
        async with image_loader(num_workers=1, trap="crash") as bench:

            async def attack(i: int) -> int:
                with pytest.raises(ImageError):
                    async with bench.loader.load(refs(png((i, 0, 0), TRAP))):
                        pass
                return len(os.listdir("/proc/self/fd"))

            counts = [await attack(i) for i in range(4)]
            assert bench.loader.cache.num_taken_bytes == 0
            return counts

    counts = asyncio.run(run())

    assert counts[-1] <= counts[1]


@pytest.mark.slow
def test_nothing_is_left_behind_by_a_server_that_is_killed(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout is not None
    workers = [int(pid) for pid in server.stdout.readline().split()]
    files = {file for pid in (server.pid, *workers) for file in open_files(pid)}
    server.send_signal(signal.SIGKILL)
    server.wait()
    server.stdout.close()

    assert len(workers) == 2
    assert "/memfd:foveal-pixels (deleted)" in files  # memory without a name
    assert not [file for file in files if file.startswith((str(tmp_path), "/dev/shm"))]
    assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), within_s=60)
    assert list(tmp_path.iterdir()) == []


def pids(bench: Bench) -> list[int]:
    assert isinstance(bench.loader.decoder, WorkerPool)
    return bench.loader.decoder.pids


def open_files(pid: int) -> list[str]:
    return [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def eventually(condition: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True

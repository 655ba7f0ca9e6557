"""The process in which untrusted bytes are parsed: what it answers, and what it cannot do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from foveal.arena import PixelArena
from foveal.config import MIB, ImageConfig
from foveal.media.cost import decode_cost_s
from foveal.media.pool import WorkerPool
from foveal.media.protocol import Done, Measure, Measured, Prepare, Refusal
from foveal.media.worker import answer, build_processor
from foveal.types import ImageLayout, PixelRef, Size
from tests.media.builders import png
from tests.media.tiny import LOAD_TINY, TinyProcessor

PROCESSOR = TinyProcessor()
SIZE = Size(8, 6)
PIXELS = PixelRef(64, (28, 28, 3))


def layout(size: Size = SIZE) -> ImageLayout:
    return PROCESSOR.layout(size, "auto")


def test_measure() -> None:
    assert answer(Measure(png()), PROCESSOR, PixelArena.create(64), 1000) == Measured(
        Size(8, 6), decode_cost_s(Size(8, 6)), is_plain=True
    )


def test_prepare_writes_the_pixels_where_it_is_told() -> None:
    arena = PixelArena.create(4096)

    reply = answer(Prepare(png((1, 2, 3)), layout(), PIXELS), PROCESSOR, arena, 1000)

    assert reply == Done(Size(8, 6))
    assert np.all(arena.view(PIXELS) == (1, 2, 3))
    assert not arena.view(PixelRef(0, (64,))).any()


@pytest.mark.parametrize(
    ("job", "sentence"),
    [
        (Measure(b"nothing"), "not a picture in a supported format (PNG, JPEG, GIF, BMP, TIFF, PPM, WebP)"),
        (Measure(png(size=(101, 10))), "more than 1,000 pixels, the limit for each image; scale it down"),
        (
            Prepare(png(), layout(Size(6, 8)), PIXELS),
            "the picture is damaged or incomplete; save it again as PNG or JPEG and send that",
        ),
    ],
)
def test_refusals(job: Measure | Prepare, sentence: str) -> None:
    assert answer(job, PROCESSOR, PixelArena.create(4096), 1000) == Refusal(sentence)


def test_the_processor_is_built_from_its_name_and_the_checkpoint() -> None:
    assert build_processor(LOAD_TINY, "hang") == TinyProcessor("hang")


def test_it_imports_neither_torch_nor_anything_of_the_network() -> None:
    program = "import sys, foveal.media.worker, foveal.models.registry; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert not {"torch", "httpx", "httpcore", "starlette", "pydantic", "asyncio"} & set(modules)


@pytest.mark.anyio
async def test_it_has_dropped_its_privileges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOVEAL_HTTP_API_KEYS", "secret")
    config = ImageConfig(num_workers=1, decode_memory_bytes=64 * MIB)
    pool = WorkerPool(config, PixelArena.create(4096), LOAD_TINY, "")
    await pool.run(Measure(png()))
    process = Path(f"/proc/{pool.pids[0]}")
    limits = {line[:25].strip(): line[25:].split()[0] for line in (process / "limits").read_text().splitlines()}
    status, environment = (process / "status").read_text(), (process / "environ").read_text()
    files = {path.readlink() for path in (process / "fd").iterdir()}
    await pool.close()

    assert limits["Max core file size"] == limits["Max file size"] == "0"
    assert limits["Max open files"] == "16"
    assert int(limits["Max address space"]) < 2 << 30
    assert "NoNewPrivs:\t1" in status
    assert "secret" not in environment
    assert len(files) <= 5  # the standard three, the socket, the arena

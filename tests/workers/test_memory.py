"""What the server and its children hold, as `ps` counts it; what was freed goes back."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import threading

import pytest

from foveal.workers.memory import give_back, resident_bytes
from foveal.workers.spawn import Kind, spawn
from tests.http.server import wait_until


def as_ps_counts(pid: int) -> int:
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024


def test_this_process_is_the_server() -> None:
    found, counted = resident_bytes()["server"], as_ps_counts(os.getpid())
    assert counted / 2 < found < counted * 2


def test_children_go_by_the_folder_whose_function_they_run_whichever_thread_started_them() -> None:
    assert "engine_client" not in resident_bytes()
    has_read = threading.Event()

    def live() -> None:
        child = spawn(Kind("foveal.engine_client.grammar_trial:serve", {}), b"")
        has_read.wait()  # a child ends with the thread that started it
        asyncio.run(child.end())

    thread = threading.Thread(target=live)
    thread.start()
    try:
        wait_until(lambda: resident_bytes().get("engine_client", 0) > 0)
    finally:
        has_read.set()
        thread.join()
    assert "engine_client" not in resident_bytes()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library has no way to do it")
def test_memory_that_was_freed_below_what_is_still_used_goes_back() -> None:
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    blocks = [ctypes.c_void_p(library.malloc(1000)) for _ in range(50_000)]
    for block in blocks:
        library.memset(block, 1, 1000)
    for block in blocks[:-1]:
        library.free(block)
    before = resident_bytes()["server"]

    give_back()

    assert before - resident_bytes()["server"] > 40_000_000
    library.free(blocks[-1])

"""What the server and its children hold, as `ps` counts it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading

from foveal.workers.memory import resident_bytes
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

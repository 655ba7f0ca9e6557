"""A PostgreSQL server of the tests' own, which can be frozen, stopped and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg


class Postgres:
    """It runs as the user `postgres` where the tests run as root, since it refuses to run as root."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = _programs()
        self._user = "postgres" if os.getuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        if self._user:
            shutil.chown(folder, self._user)
        self._run("initdb", "--auth=trust", "--username=foveal", "--no-sync", "--encoding=UTF8")

    @property
    def url(self) -> str:
        return self._url("postgres")

    def new_database(self, name: str) -> str:
        """The URL of a new database."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._url(name)

    def start(self) -> None:
        settings = ("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off")
        command = [str(self._programs / "postgres"), "-D", str(self._folder), "-p", str(self._port), *settings]
        log = (self._folder / "log").open("ab")
        self._process = subprocess.Popen(command, user=self._user, stdout=log, stderr=log)
        log.close()
        for _ in range(600):
            try:
                psycopg.connect(self.url, connect_timeout=3).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        raise TimeoutError((self._folder / "log").read_text())

    def stop(self) -> None:
        """At once, as when the machine loses power."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()

    def freeze(self) -> None:
        for pid in self._pids():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in reversed(self._pids()):
            os.kill(pid, signal.SIGCONT)

    def _pids(self) -> list[int]:
        assert self._process is not None
        pid = self._process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def _url(self, name: str) -> str:
        return f"postgresql://foveal@127.0.0.1:{self._port}/{name}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments, "-D", str(self._folder)]
        subprocess.run(command, user=self._user, check=True, capture_output=True, cwd=self._folder)


@contextmanager
def running() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="foveal-postgres-"))
    try:
        server = Postgres(folder)
        server.start()
        yield server
        server.thaw()
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    found = shutil.which("postgres")
    if found:
        return Path(found).parent
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not programs:
        raise FileNotFoundError("there is no PostgreSQL here; make scale installs it")
    return programs[-1].parent

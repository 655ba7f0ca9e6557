"""The command line as people use it: in a process of its own, on a tiny checkpoint."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from foveal.accounting.database import Database
from foveal.cli import main
from tests.builders import picture, tiny_phi3_v

FOVEAL = [sys.executable, "-m", "foveal"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_phi3_v(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "photo.png"
    picture(64, 48).save(path)
    return path


def foveal(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*FOVEAL, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=False)


@contextmanager
def serving(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that is ready, and its URL, as it prints it."""
    command = [*FOVEAL, "serve", "--port", "0", *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as server:
        try:
            assert server.stderr is not None
            for line in server.stderr:
                if found := re.search(r"Ready after .* s: (http://\S+)/v1", line):
                    yield server, found[1]
                    break
            else:
                pytest.fail("the server never became ready")
        finally:
            server.kill()


def get(url: str, body: object = None) -> tuple[int, dict[str, object]]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        content: dict[str, object] = json.loads(response.read() or b"{}")
        return response.status, content


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_help_names_the_commands_and_version_tells_the_version() -> None:
    assert all(
        command in foveal("--help").stdout for command in ("serve", "ask", "chat", "models", "keys", "usage", "bench")
    )
    shown = foveal("keys", "create", "--help").stdout
    assert "[limits]" in shown  # tables of the configuration are no markup
    assert "[prices]" in shown
    assert re.fullmatch(r"foveal \d+\.\d+\.\d+\n", foveal("--version").stdout)


@pytest.mark.slow
def test_a_server_never_imports_torch_and_an_engine_never_the_web() -> None:
    server = (
        "foveal.cli, foveal.serving.lifecycle, foveal.engine_client.supervisor, foveal.http.app, foveal.http.server"
    )
    accounts = "foveal.cli.keys, foveal.cli.usage, foveal.accounting.accounting, foveal.accounting.database"
    engine = "foveal.engine.start, foveal.engine_client.local, foveal.models.registry"
    for modules, forbidden in (
        (server, ("torch", "sqlite3")),
        (accounts, ("torch", "starlette")),
        (engine, ("starlette", "uvicorn", "pydantic")),
    ):
        code = f"import {modules}, sys; sys.exit(any(name in sys.modules for name in {forbidden}))"
        assert subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=False).returncode == 0


@pytest.mark.slow
def test_ask_answers_about_files(model: Path, photo: Path) -> None:
    answered = foveal("ask", "--model", model, "--max-tokens", "8", photo, photo, "Are they the same?")
    assert (answered.returncode, answered.stdout.endswith("\n")) == (0, True)
    assert foveal("ask", "--model", model, "--max-tokens", "8", "No picture at all.").returncode == 0


@pytest.mark.slow
def test_ask_reads_a_picture_from_standard_input_and_answers_programs_in_json(model: Path, photo: Path) -> None:
    command = [*FOVEAL, "ask", "--model", str(model), "--max-tokens", "4", "--json", "-", "What is it?"]
    piped = subprocess.run(command, input=photo.read_bytes(), capture_output=True, env=ENVIRONMENT, check=True)
    answered = json.loads(piped.stdout)
    assert answered["model"] == model.name
    assert answered["usage"]["image_tokens"] > 0
    assert answered["usage"]["completion_tokens"] <= 4
    assert answered["finish_reason"] in ("stop", "length")


@pytest.mark.slow
def test_chat_answers_line_by_line_and_says_what_it_cannot_do(model: Path, photo: Path) -> None:
    command = [*FOVEAL, "chat", "--model", str(model), "--max-tokens", "4", str(photo)]
    lines = "What is it?\n/image nowhere.png\nAnd now?\n"
    talked = subprocess.run(command, input=lines, capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert talked.stdout.count("\n") >= 2
    assert "nowhere.png cannot be read" in talked.stderr
    assert "Traceback" not in talked.stderr


def test_models_lists_the_one_inside() -> None:
    assert re.search(r"foveal-mini +phi3_v +inside the package", foveal("models").stdout)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ask", "nowhere.png", "What?"], "nowhere.png cannot be read"),
        (["ask", __file__, "What?"], "image 1: not a picture in a supported format"),
        (["ask", "http://127.0.0.1/a.png", "What?"], "image 1: this address is not allowed"),
        (["serve", "nowhere"], "is no folder"),
        (["serve", "--host", "0.0.0.0"], "there is no API key"),
        (["serve", "--conversation", "klingon"], "no conversation config klingon"),
        (["serve", "--config", "nowhere.toml"], "nowhere.toml cannot be read"),
        (["serve", "--port", "0", "--max-model-len", "9999999"], "the model ends at"),
    ],
)
def test_what_cannot_be_done_is_one_plain_sentence(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["foveal", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert sentence in capsys.readouterr().err


def test_a_model_that_cannot_be_had_is_named_and_nothing_is_traced_back() -> None:
    refused = foveal("serve", "no/such-model-here")
    assert refused.returncode == 1
    assert "no/such-model-here is not in the hub cache" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("is_ignored", [False, True])
def test_ctrl_c_while_it_is_imported_ends_it_without_a_traceback(tmp_path: Path, is_ignored: bool) -> None:
    """Where a shell has it ignored, in the background, it stays ignored."""
    (tmp_path / "click.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT); raise SystemExit(3)")
    ran = subprocess.run(
        [sys.executable, "-m", "foveal", "--version"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN if is_ignored else signal.SIG_DFL),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (3 if is_ignored else -signal.SIGINT, "")


def test_a_missing_question_is_noticed(photo: Path) -> None:
    refused = foveal("ask", photo)
    assert refused.returncode == 2
    assert "the question is missing" in refused.stderr


def test_traces_without_the_extra_say_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry.py").write_text("raise ModuleNotFoundError(name='opentelemetry')")
    settings = {"FOVEAL_TRACES_ENDPOINT": "http://127.0.0.1:4318", "PYTHONPATH": str(tmp_path)}
    refused = subprocess.run(
        [*FOVEAL, "serve", "--port", "0"], env=ENVIRONMENT | settings, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "pip install 'foveal[otel]'" in refused.stderr


def test_a_picture_that_is_not_there_is_no_question() -> None:
    refused = foveal("ask", "mistyped.JPG")
    assert refused.returncode == 2
    assert "the question is missing: foveal ask mistyped.JPG" in refused.stderr


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = foveal("serve", "--port", str(port))
    assert refused.returncode == 1
    assert f"port {port} is taken" in refused.stderr


@pytest.mark.slow
def test_serve_answers_and_ends_at_a_signal_leaving_nothing_behind(model: Path) -> None:
    with serving(model, "--name", "eyes") as (server, url):
        assert get(f"{url}/readyz")[0] == 200
        body = {
            "model": "eyes",
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": 3,
            "ignore_eos": True,
        }
        status, answer = get(f"{url}/v1/chat/completions", body)
        assert (status, answer["object"]) == (200, "chat.completion")
        processes = children(server.pid)
        assert len(processes) >= 2  # the engine and the image workers
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0
        _wait_until(lambda: all(map(is_gone, processes)))


def test_a_server_with_models_elsewhere_alone_starts_no_engine(tmp_path: Path) -> None:
    config = tmp_path / "foveal.toml"
    config.write_text("[[models]]\nname = 'far'\n[models.upstream]\nbase_url = 'http://127.0.0.1:9/v1'\n")
    with serving("--config", config) as (server, url):
        _, listed = get(f"{url}/v1/models")
        _, ready = get(f"{url}/readyz")
        commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in children(server.pid)]
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0
    assert [model["id"] for model in cast("Any", listed["data"])] == ["far"]
    assert ready == {"status": "ready"}
    assert not any("engine" in command for command in commands)


def test_a_server_that_is_told_to_stop_while_it_loads_stops() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*FOVEAL, "serve", "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as server:
        _wait_until_it_listens(port)
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=60)
    assert server.returncode == 0
    assert not re.search("Traceback|Exception|CancelledError", said)


@pytest.mark.slow
def test_a_server_that_is_told_to_stop_finishes_what_it_answers_and_sends_others_away(model: Path) -> None:
    body = {"model": "eyes", "prompt": "Hello", "n": 8, "max_tokens": 400, "ignore_eos": True}  # half a second or more
    with serving(model, "--name", "eyes") as (server, url), ThreadPoolExecutor(1) as client:
        answering = client.submit(get, f"{url}/v1/completions", body)
        _wait_until(lambda: _num_sequences(url) == 8)
        assert not answering.done()
        server.send_signal(signal.SIGTERM)
        _wait_until(lambda: _is_draining(url))
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(f"{url}/v1/completions", body | {"n": 1, "max_tokens": 1})
        refused.value.close()
        assert (refused.value.status, int(refused.value.headers["retry-after"]) > 0) == (503, True)
        assert answering.result()[0] == 200
        assert server.wait(timeout=60) == 0


@pytest.mark.slow
def test_a_server_that_is_told_twice_waits_for_no_answer_and_accounts_for_it(model: Path, tmp_path: Path) -> None:
    accounts = tmp_path / "accounting.db"
    config = tmp_path / "foveal.toml"
    config.write_text(f"[accounting]\nledger = true\npath = {json.dumps(str(accounts))}\n")
    body = {"model": "eyes", "prompt": ["Hello"] * 16, "n": 8, "max_tokens": 900, "ignore_eos": True}  # many seconds
    with serving(model, "--name", "eyes", "--config", config) as (server, url), ThreadPoolExecutor(1) as client:
        answering = client.submit(get, f"{url}/v1/completions", body)
        _wait_until(lambda: _num_sequences(url) == 16 * 8)
        server.send_signal(signal.SIGTERM)
        _wait_until(lambda: _is_draining(url))
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0
        assert answering.exception() is not None
    (row,) = Database(accounts).usage("model")
    assert (row.num_requests, row.group) == (1, "eyes")
    assert row.num_failed + row.num_aborted == 1


def _num_sequences(url: str) -> float:
    """That the engine has, running or waiting."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as response:
        found = re.findall(r"^foveal_(?:running|waiting)_sequences (\S+)", response.read().decode(), re.MULTILINE)
    return sum(map(float, found))


def _is_draining(url: str) -> bool:
    try:
        return get(f"{url}/readyz")[0] != 200
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.status == 503


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def _wait_until_it_listens(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return

"""`foveal bench` as it is used: in a process of its own, against scripted servers, and against ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from PIL import Image

from foveal.bench.plot import check_matplotlib
from foveal.cli.bench import parse_size
from foveal.errors import ConfigError
from tests.bench.fake_server import FakeServer, Script, Seen, serving
from tests.contract.serve import KEY, MODEL
from tests.contract.serve import serving as serving_foveal

COMMAND = [sys.executable, "-m", "foveal", "bench"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
SMALL = ("--image-size", "64", "--max-tokens", "16", "--seed", "1")
DEADLINE_S = 60.0


@contextmanager
def served(script_of: Callable[[Seen], Script] = lambda _: Script()) -> Iterator[FakeServer]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving(FakeServer(script_of))) as running,
    ):
        yield running


def bench(*arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    environment = ENVIRONMENT | settings
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=DEADLINE_S, check=False)


def written(path: Path) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(path.read_text())
    return decoded


def test_the_figures_are_those_of_the_script(tmp_path: Path) -> None:
    """Whatever else the machine does: counts are exact, and no time is shorter than what the server took."""
    script = Script(first_s=0.03, gap_s=0.005, num_chunks=8, cached_tokens=40)
    report, plot = tmp_path / "report.json", tmp_path / "plot.png"
    with served(lambda _: script) as server:
        done = bench(server.url, *SMALL, "-n", "6", "-c", "2", "--images", "2", "--json", report, "--plot", plot)
    assert done.returncode == 0, done.stderr
    assert "6 answered" in done.stdout
    assert "48 tokens" in done.stdout  # 6 x 8
    assert "600 tokens, 240 of them cached" in done.stdout
    asked, found = server.asked[2:], written(report)  # the first two warm up
    (of_server,) = found["servers"]
    assert len(asked) == len(of_server["requests"]) == 6
    assert of_server["report"]["ttft"]["p50"] >= 0.03
    assert of_server["report"]["tpot"]["p50"] >= 0.005
    assert of_server["report"]["gap"]["count"] == 6 * 7
    assert all(len(seen.body["messages"][0]["content"]) == 3 for seen in asked)
    assert found["workload"]["num_images"] == 2
    assert {"platform", "cores"} <= found["machine"].keys()
    with Image.open(plot) as drawn:
        assert drawn.format == "PNG"


def test_two_servers_are_asked_the_same_in_turn(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with served(lambda _: Script(first_s=0.2)) as slow, served() as quick:
        arguments = ("-n", "8", "--json", report, "--plot", tmp_path / "plot.png", "--warmup", "0")
        done = bench(slow.url, "--against", quick.url, *SMALL, *arguments, "--expect", "ratio.ttft.p50<1")
    assert [seen.body for seen in slow.asked] == [seen.body for seen in quick.asked]
    in_turn = sorted((seen.at_s, number) for number, of in enumerate((slow, quick)) for seen in of.asked)
    assert [number for _, number in in_turn] == [0, 1] * 8
    ended_s = [seen.ended_s or 0.0 for pair in zip(slow.asked, quick.asked, strict=True) for seen in pair]
    assert all(end_s < start_s for end_s, (start_s, _) in zip(ended_s, in_turn[1:], strict=False))
    assert f"{slow.url}/v1 divided by {quick.url}/v1" in done.stdout
    assert "time to first token, p50" in done.stdout
    assert (done.returncode, "expected ratio.ttft.p50<1: it is" in done.stdout) == (1, True)
    assert {ratio["name"] for ratio in written(report)["ratios"]} >= {"ttft.p50", "output_tokens_per_s"}


def test_turns_are_about_the_same_pictures_and_hold_the_answers() -> None:
    with served() as server:
        done = bench(server.url, *SMALL, "-n", "5", "--turns", "3", "--warmup", "0")
    assert done.returncode == 0, done.stderr
    turns = [seen.body["messages"] for seen in server.asked]
    assert [len(messages) for messages in turns] == [1, 3, 5, 1, 3]
    assert turns[2][0] == turns[0][0] != turns[3][0]
    assert turns[1][1]["content"] == "word0 word1 word2 word3 "


def test_errors_are_counted_by_kind_and_all_failed_is_a_failure() -> None:
    busy = Script(status=503, says='{"error": {"message": "busy"}}', kind="application/json")
    with served(lambda seen: Script() if seen.is_probe else busy) as server:
        warmed, cold = bench(server.url, *SMALL, "-n", "3"), bench(server.url, *SMALL, "-n", "3", "--warmup", "0")
    assert warmed.returncode == cold.returncode == 1
    assert "answers none of the requests that this run would send: 503 busy" in warmed.stderr
    assert "3 failed (100.0%)" in cold.stdout
    assert "3 x 503 busy" in cold.stdout


def test_ctrl_c_prints_what_there_is() -> None:
    with served(lambda seen: Script(first_s=0.0 if seen.is_probe or len(server.seen) < 5 else 1000.0)) as server:
        arguments = [server.url, *SMALL, "-n", "50", "--warmup", "0"]
        with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as running:
            deadline_s = time.monotonic() + DEADLINE_S
            while len(server.seen) < 5 and time.monotonic() < deadline_s:
                time.sleep(0.02)
            running.send_signal(signal.SIGINT)
            said, _ = running.communicate(timeout=DEADLINE_S)
    assert "3 answered" in said
    assert "Interrupted" in said
    assert running.returncode == 130


def test_a_key_is_sent_to_its_own_server_only_and_not_written(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with served() as first, served() as second:
        arguments = ("--against", second.url, *SMALL, "-n", "1", "--json", report)
        assert bench(first.url, *arguments, FOVEAL_BENCH_KEY="sk-one", FOVEAL_BENCH_AGAINST_KEY="").returncode == 0
    assert {seen.key for seen in first.seen} == {"Bearer sk-one"}
    assert {seen.key for seen in second.seen} == {""}
    assert "sk-one" not in report.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-c", "2", "--rate", "3"), "give one of them"),
        (("--image-size", "big"), "write 512"),
        (("--expect", "speed>1"), "figures are"),
        (("--json", "no/such/folder.json"), "cannot be written"),
        (("--against", "http://127.0.0.1:9/"), "nothing answers at http://127.0.0.1:9/v1"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments: tuple[str, ...], words: str) -> None:
    with served() as server:
        done = bench(server.url, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("foveal: ")
    assert words in done.stderr
    assert server.asked == []


def test_one_server_is_not_compared_with_itself() -> None:
    with served() as server:
        done = bench(server.url, "--against", f"{server.url}/v1/")
    assert "both URLs are one server" in done.stderr


def test_a_plot_without_matplotlib_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foveal.bench.plot.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'foveal\[bench\]'"):
        check_matplotlib()


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("512", ((512, 512), (512, 512))),
        ("640x480", ((640, 480), (640, 480))),
        ("256-1024x768", ((256, 256), (1024, 768))),
    ],
)
def test_sizes_are_read(text: str, sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    assert parse_size(text) == sizes


@pytest.mark.parametrize("text", ["", "x", "1x2x3", "1-2-3", "-5", "5e2"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--image-size"):
        parse_size(text)


def test_our_own_server_answers_all(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with serving_foveal(tmp_path / "log.txt") as foveal:
        arguments = ("-n", "6", "-c", "2", "--max-tokens", "8", "--json", report)
        done = bench(foveal.url, *arguments, FOVEAL_BENCH_KEY=KEY)
    assert done.returncode == 0, done.stderr
    assert "6 answered" in done.stdout
    (server,) = written(report)["servers"]
    assert server["model"] == MODEL
    assert server["report"]["tokens_counted_by"] == "usage"
    assert server["report"]["cached_tokens"] == 0  # no picture was seen before

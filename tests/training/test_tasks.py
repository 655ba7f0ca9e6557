"""The evaluation: what it asks, when an answer is right, and what it prints."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from training.answers_sheet import draw_sheet
from training.config import read_config
from training.evaluate import ask_served, main, table, wrong
from training.phrases import PHRASES
from training.tasks import TASKS, Sample, is_right, samples
from training.train import Trainer

READ = Sample("words of up to 8 letters", "read", "What does it say?", 'It says "Garden".')
COLOUR = Sample("colour", "colour_of_shape", "What colour is the circle?", "The circle is grey.")
LIST = Sample("description", "describe", "Describe it.", "A red circle and a blue star on a white background.")
YES = Sample("yes or no", "exists", "Is there a star?", "No, there is no star.")


@pytest.mark.parametrize(
    ("sample", "answer", "right"),
    [
        (READ, 'It says "Garden".', True),
        (READ, 'It says "garden".', False),
        (READ, "It says Garden.", False),
        (COLOUR, "The circle is gray.", True),
        (COLOUR, "The circle is green.", False),
        (COLOUR, "The circle is grey and red.", False),
        (LIST, "A blue star and a red circle on a white background.", True),
        (LIST, "A blue circle and a red circle on a white background.", False),
        (YES, "No, there is not.", True),
        (YES, "Yes, there is a star.", False),
        (YES, "", False),
    ],
)
def test_when_an_answer_is_right(sample: Sample, answer: str, right: bool) -> None:
    assert is_right(sample, answer) == right


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_each_task_asks_held_out_questions_about_pictures_of_its_own(task: Any) -> None:
    asked = samples(task, 16)
    assert asked == samples(task, 16)
    assert {sample.kind for sample in asked} <= set(task.kinds)
    if task.scenes:
        assert {sample.is_drawn_again for sample in asked} == {True, False}
        assert len({sample.scenes for sample in asked}) == 16
    trained = {text for phrases in PHRASES.values() for text in phrases.trained if "{" not in text}
    assert not any(sample.question in trained for sample in asked)


def test_the_table_counts_each_library_apart() -> None:
    asked = [COLOUR, replace(COLOUR, is_drawn_again=True)]
    printed = table(asked, [COLOUR.answer, "The circle is red."])
    assert "| colour | 2 | 50.0% | 100.0% | 0.0% | 98% |" in printed
    assert "98% reached" in table(asked, [COLOUR.answer] * 2)
    assert wrong(asked, [COLOUR.answer, "The circle is red."], 3) == [(asked[1], "The circle is red.")]


def test_wrong_answers_are_shown_as_pictures() -> None:
    asked = [sample for task in TASKS for sample in samples(task, 1)]
    sheet = draw_sheet([(sample, "I do not know.") for sample in asked])
    assert len(sheet.getcolors(1 << 20) or ()) > 50


@pytest.fixture
def url() -> Iterator[str]:
    """A server that answers with who said what so far: of what has content parts, their number."""

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply({"data": [{"id": "echo"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = [
                f"{turn['role']} {turn['content'] if isinstance(turn['content'], str) else len(turn['content'])}"
                for turn in body["messages"]
            ]
            self._reply({"choices": [{"message": {"content": ", ".join(said)}}]})

        def _reply(self, reply: object) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(reply).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_answers_come_in_the_order_of_the_questions(url: str) -> None:
    comparison = next(task for task in TASKS if task.name == "two-image comparison")
    asked = [COLOUR, *samples(comparison, 2), COLOUR]
    assert ask_served(url, asked) == ["user 1", "user 3", "user 3", "user 1"]


def test_what_one_picture_lacks_is_asked_either_way_round() -> None:
    asked = samples(next(task for task in TASKS if task.name == "what only one picture has"), 40)
    assert {sample.answer.split()[2] for sample in asked} == {"first", "second"}


def test_a_second_turn_comes_after_the_first_one_and_its_answer(url: str) -> None:
    asked = samples(next(task for task in TASKS if task.name == "second turn"), 2)
    assert [sample.kind for sample in asked] == ["follow_up", "of_it"]
    for sample, answer in zip(asked, ask_served(url, asked), strict=True):
        assert sample.before
        assert answer == f"user 2, assistant {sample.before[1]}, user {sample.question}"


@pytest.mark.slow
def test_what_a_run_has_come_to_can_be_asked_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(__file__).parents[2]
    begun, heads = root / "src/foveal/bundled/foveal-mini", root / "training/heads.safetensors"
    run = tmp_path / "run.toml"
    own = {"folder": tmp_path, "start_from": begun, "start_heads": heads}
    settings = "".join(f'{name} = "{path}"\n' for name, path in own.items())
    run.write_text(f'base = "{root}/training/mini.toml"\n[run]\n{settings}')
    Trainer(read_config(run)).save()
    monkeypatch.setattr(sys, "argv", ["evaluate", "--run", str(run), "--tasks", "small talk", "--count", "2"])
    main()
    assert "| small talk | 2 | 100.0% |" in capsys.readouterr().out


def test_the_sheet_may_be_the_first_file_of_its_folder(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet = tmp_path / "runs/wrong.png"
    options = ["--url", url, "--tasks", "colour", "--count", "2", "--sheet", str(sheet)]
    monkeypatch.setattr(sys, "argv", ["evaluate", *options])
    main()
    assert sheet.exists()


@pytest.mark.slow
def test_who_stops_the_evaluation_stops_its_server_too() -> None:
    """While questions wait for answers: small talk, which is asked at once."""
    command = [sys.executable, "-m", "training.evaluate", "--tasks", "small talk", "--count", "20000"]
    evaluation = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    own = Path(f"/proc/{evaluation.pid}/task/{evaluation.pid}/children")
    while not (children := own.read_text().split()):
        time.sleep(0.1)
        assert evaluation.poll() is None
    server = Path("/proc", children[0])
    while not answered(server):
        time.sleep(0.1)
        assert evaluation.poll() is None
    evaluation.terminate()
    assert evaluation.wait(300) == 1
    assert not server.exists()


def answered(server: Path) -> float:
    """Questions that this process has answered, by its own count; none while it does not say."""
    try:
        port = (server / "cmdline").read_text().split("\0")[-2]
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    except (httpx.HTTPError, IndexError):
        return 0
    counts = [line.split()[-1] for line in metrics.splitlines() if line.startswith("foveal_answers_total")]
    return sum(map(float, counts))

"""Asks about held-out pictures and prints the share of right answers for each task.

python -m training.evaluate                                  starts a server and asks it over HTTP
python -m training.evaluate --url http://127.0.0.1:8000/v1   asks a server that runs
python -m training.evaluate --run training/mini.toml         serves the checkpoint of a run and asks it
"""

import argparse
import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from rich.progress import track

from training.answers_sheet import draw_sheet
from training.config import read_config
from training.export import export
from training.tasks import SEED, TASKS, Sample, is_right, samples

AT_ONCE = 8  # requests over HTTP


# --- answers ----------------------------------------------------------------------------------------------------------


def ask_served(url: str, asked: list[Sample]) -> list[str]:
    """Answers of chat completions over HTTP, several at once."""
    with urllib.request.urlopen(f"{url}/models", timeout=60) as response:
        model: str = json.load(response)["data"][0]["id"]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            answers = pool.map(lambda sample: _completion(url, model, sample), asked)
            return list(track(answers, f"Asking {model}", total=len(asked)))
        except BaseException:  # stop without waiting for the other answers
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _completion(url: str, model: str, sample: Sample) -> str:
    messages: list[dict[str, object]] = [
        {"role": role, "content": words} for role, words in zip(cycle(("user", "assistant")), sample.said)
    ]
    shown = [{"type": "image_url", "image_url": {"url": _data_url(picture)}} for picture in sample.pictures]
    messages[0]["content"] = [*shown, {"type": "text", "text": sample.said[0]}]
    body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 96}
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        answer: str = json.load(response)["choices"][0]["message"]["content"]
    return answer


def _data_url(picture: Image.Image) -> str:
    packed = io.BytesIO()
    picture.save(packed, "PNG")
    return "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode()


def _exported(config_file: Path, folder: Path) -> str:
    """Export the run's weights as a model folder."""
    config = read_config(config_file)
    export(replace(config, run=replace(config.run, averaged={})), folder)
    return str(folder)


@contextmanager
def served(model: str) -> Iterator[str]:
    """The URL of a server that runs while the context is open."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", "foveal", "serve", model, "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ)
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/readyz", server)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait()


def _wait_until_ready(url: str, server: subprocess.Popen[bytes], limit_s: float = 120.0) -> None:
    until_s = time.monotonic() + limit_s
    while server.poll() is None and time.monotonic() < until_s:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise SystemExit(f"the server was not ready after {limit_s:.0f} s")


# --- output -----------------------------------------------------------------------------------------------------------


def table(asked: list[Sample], answers: list[str]) -> str:
    """A Markdown table with a row for each task and a column for each drawing library."""
    right: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for sample, answer in zip(asked, answers, strict=True):
        right[sample.task].append((sample.is_drawn_again, is_right(sample, answer)))
    targets = {task.name: task.target for task in TASKS}
    rows = ["| task | asked | right | Pillow | matplotlib | target |", "|---|---|---|---|---|---|"]
    for name, results in right.items():
        parts = [[one for again, one in results if again in wanted] for wanted in ((False, True), (False,), (True,))]
        shares = [f"{sum(part) / len(part):.1%}" if part else "" for part in parts]
        target = targets[name]
        mark = "" if not target else f"{target:.0%}" + (" reached" if sum(parts[0]) >= target * len(parts[0]) else "")
        rows.append(f"| {name} | {len(results)} | {' | '.join(shares)} | {mark} |")
    return "\n".join(rows)


def by_kind(asked: list[Sample], answers: list[str]) -> str:
    right: dict[str, list[bool]] = defaultdict(list)
    for sample, answer in zip(asked, answers, strict=True):
        right[f"{sample.task}: {sample.kind}"].append(is_right(sample, answer))
    return "\n".join(f"{name}  {sum(found)}/{len(found)}" for name, found in right.items())


def wrong(asked: list[Sample], answers: list[str], most: int) -> list[tuple[Sample, str]]:
    """The first wrong answers of each task."""
    found: dict[str, list[tuple[Sample, str]]] = defaultdict(list)
    for sample, answer in zip(asked, answers, strict=True):
        if not is_right(sample, answer) and len(found[sample.task]) < most:
            found[sample.task].append((sample, answer))
    return [pair for pairs in found.values() for pair in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--url", help="of a server that runs, up to /v1")
    who.add_argument("--run", type=Path, help="configuration file of a training run, to serve its checkpoint meanwhile")
    who.add_argument("--model", default="foveal-mini", help="a folder or hub id to serve meanwhile")
    parser.add_argument("--count", type=int, default=200, help="questions of each task")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--tasks", nargs="+", default=[task.name for task in TASKS])
    parser.add_argument("--trained", action="store_true", help="words, fonts and phrasings of the training instead")
    parser.add_argument("--show", type=int, default=0, help="wrong answers to print of each task")
    parser.add_argument("--sheet", type=Path, help="a PNG to draw wrong answers on")
    arguments = parser.parse_args()
    if arguments.sheet:
        arguments.sheet.parent.mkdir(parents=True, exist_ok=True)  # fail now, not after all questions
    chosen = [task for task in TASKS if task.name in arguments.tasks]
    asked = [
        sample for task in chosen for sample in samples(task, arguments.count, arguments.seed, not arguments.trained)
    ]
    if arguments.url:
        answers = ask_served(arguments.url, asked)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the server is ended, too
        with TemporaryDirectory() as folder:
            model = _exported(arguments.run, Path(folder)) if arguments.run else arguments.model
            with served(model) as url:
                answers = ask_served(url, asked)
    print(f"{date.today()}, seed {arguments.seed}, {arguments.count} questions a task\n")
    print(table(asked, answers), by_kind(asked, answers), sep="\n\n")
    for sample, answer in wrong(asked, answers, arguments.show):
        print(f"{sample.task}: {' - '.join(sample.said)!r} -> {answer!r}, expected {sample.answer!r}")
    if arguments.sheet:
        draw_sheet(wrong(asked, answers, 1)[:12]).save(arguments.sheet, optimize=True)


if __name__ == "__main__":
    main()

"""Draws `session.svg`, the README's picture: runs a few commands against a server, and draws what they really print.

    make install && .venv/bin/python docs/images/session.py

Knows nothing of what the commands do. Text is drawn as text, so that the file stays small and can be searched.
"""

import socket
import subprocess
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[2]
ASK = 'foveal ask docs/images/shapes.png "What colour is the circle?"'
POST = "post() { curl -sN http://127.0.0.1:8000/v1/$1 --json @docs/examples/$2.json; }"
TO_ANSWER = """grep -o '"content":"[^"]*"' | md5sum"""
ANSWER = """grep -o '"content":[^}]*\\|"cached_tokens":[0-9]*'"""
SERVED = (
    "# what the question takes, before it runs\npost tokenize question | cut -c 24-78",
    f"# asked twice: the second time, the prompt is cached\npost chat/completions question | {ANSWER}",
    f"post chat/completions question | {ANSWER}",
    f"# the engine is killed in mid-stream: the answer is the same\npost chat/completions stream | {TO_ANSWER}",
    f"post chat/completions stream | {{ sed -u 9q; kill -9 $ENGINE; cat; }} | {TO_ANSWER}",
)
WRAP, LINE, CHAR, MARGIN = 100, 19, 7.8, 20
PAPER, INK, TYPED = "#15181e", "#d7dce2", "#7ee787"
SHAPES = (
    '<g transform="translate({x} 18) scale(.26)"><rect width="512" height="384" fill="#f5f4ef"/>'
    '<circle cx="140" cy="190" r="90" fill="#d73232"/>'
    '<rect x="300" y="180" width="160" height="160" fill="#265dc8"/></g>'
)


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    lines = _run(ASK, 'foveal() { .venv/bin/foveal "$@"; }')
    with subprocess.Popen(
        [".venv/bin/foveal", "serve", "--port", port], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            lines += ["$ make serve", *_banner(server), "", f"$ {POST}"]
            known = f"{POST.replace('8000', port)}; ENGINE=$(pgrep -P {server.pid} -f foveal.engine.start)"
            lines += [line for command in SERVED for line in _run(command, known)]
        finally:
            server.terminate()
    (ROOT / "docs/images/session.svg").write_text(_drawn([line.replace(port, "8000") for line in lines]))


def _banner(server: "subprocess.Popen[str]") -> list[str]:
    """The two lines that the server prints once it can be asked."""
    assert server.stderr is not None
    shown: list[str] = []
    while len(shown) < 2:
        line = server.stderr.readline()
        if line.startswith(("Foveal", "Ready")):
            shown.append(line.rstrip())
    return shown


def _run(command: str, known: str) -> list[str]:
    """The command as it is typed, and what it prints where the shell knows what `known` defines."""
    done = subprocess.run(["bash", "-c", f"{known}\n{command}"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [*(f"$ {line}" for line in command.splitlines()), *done.stdout.rstrip().splitlines(), ""]


def _drawn(lines: list[str]) -> str:
    rows = [(part, line.startswith("$")) for line in lines for part in _wrapped(line)]
    width, height = round(WRAP * CHAR + 2 * MARGIN), len(rows) * LINE + 2 * MARGIN
    texts = [
        f'<text x="{MARGIN}" y="{MARGIN + 14 + LINE * n}"{" class=" + chr(34) + "t" + chr(34) if typed else ""}>'
        f"{escape(text, quote=False)}</text>"
        for n, (text, typed) in enumerate(rows)
        if text
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<style>text{{font:13px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:{INK};white-space:pre}}"
        f'.t{{fill:{TYPED}}}</style><rect width="100%" height="100%" rx="8" fill="{PAPER}"/>'
    )
    return "\n".join([head, SHAPES.format(x=width - MARGIN - 133), *texts, "</svg>"]) + "\n"


def _wrapped(line: str) -> list[str]:
    """Like a shell's continued lines: a command is cut at a pipe where that is enough."""
    if line.startswith("$") and len(line) > WRAP:
        cut = line.rindex("|", 0, WRAP - 1)
        return [line[:cut] + "\\", *_wrapped("    " + line[cut:])]
    return [line[start : start + WRAP] for start in range(0, len(line), WRAP)] or [""]


if __name__ == "__main__":
    main()

"""The commands of a document's console blocks, with what it shows of their output."""

from __future__ import annotations

import re
import subprocess
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def commands(document: str) -> Iterator[tuple[str, str]]:
    """(command, what the document shows of its output); a command ends where output begins."""
    for block in re.findall(r"^```console\n(.*?)^```", document, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            num_lines = next(n for n in range(1, len(lines) + 1) if _is_whole("\n".join(lines[:n])))
            yield "\n".join(lines[:num_lines]), "\n".join(lines[num_lines:])


def is_shown(output: str, shown: str) -> bool:
    """Whether the output is what a document shows, where `...` stands for anything."""
    return fnmatchcase(output.strip(), shown.strip().replace("[", "[[]").replace("...", "*"))


def _is_whole(text: str) -> bool:
    return subprocess.run(["bash", "-nc", text], capture_output=True, check=False).returncode == 0 and text[-1] != "\\"

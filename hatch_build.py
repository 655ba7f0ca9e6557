"""The wheel's build hook: compiles the native code for each kind of CPU that it may meet.

Needs nothing but a C compiler (`CC`, or cc). Where there is none the wheel is built without it, and torch serves.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src/foveal/layers/native")
FLAGS = shlex.split(
    "-O3 -std=gnu11 -Wall -Wextra -ffp-contract=fast -fno-math-errno -fno-trapping-math -fPIC -shared -pthread"
)
# By machine: the name of each build, and what it may ask of the CPU. native/library.py chooses at run time.
BUILDS: dict[str, dict[str, list[str]]] = {
    "x86_64": {
        "avx512vnni": ["-march=x86-64-v4", "-mavx512vnni"],
        "avx512": ["-march=x86-64-v4"],
        "avx2": ["-march=x86-64-v3"],
        "base": ["-march=x86-64"],
    },
    "aarch64": {"base": []},
}


class NativeBuild(BuildHookInterface):  # type: ignore[misc] # hatchling has no types here
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the libraries that could be built to the wheel, which then is for this kind of machine only."""
        if self.target_name != "wheel":
            return
        folder = Path(self.root) / FOLDER
        for stale in folder.glob("libfoveal-*"):
            stale.unlink()
        compiler = shlex.split(os.environ.get("CC", "")) or [shutil.which("cc") or ""]
        if shutil.which(compiler[0]) is None:
            return
        builds = BUILDS.get(platform.machine(), {"base": []})
        built = [library for name, flags in builds.items() if (library := _built(folder, name, [*compiler, *flags]))]
        if built:
            build_data["artifacts"] += [f"/{FOLDER}/{library}" for library in built]
            build_data["pure_python"] = False
            build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")


def _built(folder: Path, name: str, compiler: list[str]) -> str | None:
    """The file name of one build, or None if it failed. Not *.so: Python would take it for a module."""
    library = f"libfoveal-{name}.so.1"
    source = f'-DFOVEAL_SOURCE="{source_hash(folder)}"'
    command = [*compiler, *FLAGS, source, *map(str, sorted(folder.glob("*.c"))), "-o", str(folder / library), "-lm"]
    return library if subprocess.run(command, check=False).returncode == 0 else None


def source_hash(folder: Path) -> str:
    """Of the C files; native/library.py computes the same, and loads no library of another source."""
    files = sorted(file for file in folder.iterdir() if file.suffix in (".c", ".h"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

"""The wheel's build hook: compiles the native decode step for each kind of CPU that it may meet.

Needs nothing but a C compiler (`CC`, or cc). Where there is none the wheel is built without it, and torch serves.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src/foveal/layers/native")
FLAGS = [
    "-O3",
    "-std=gnu11",
    "-Wall",
    "-Wextra",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-shared",
    "-pthread",
]
# By machine: the name of each build, and what it may ask of the CPU. native/library.py chooses at run time.
BUILDS = {
    "x86_64": {
        "avx512vnni": ["-march=x86-64-v4", "-mavx512vnni"],
        "avx2": ["-march=x86-64-v3"],
        "base": ["-march=x86-64"],
    },
    "aarch64": {"base": []},
}


class NativeBuild(BuildHookInterface):  # type: ignore[misc] # hatchling is not there where the tests are type-checked
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder, builds = Path(self.root) / FOLDER, BUILDS.get(platform.machine(), {"base": []})
        compiler = os.environ.get("CC") or shutil.which("cc")
        if self.target_name != "wheel" or compiler is None:
            return
        for name, flags in builds.items():
            library = folder / f"libstep-{name}.so.1"  # not .so: Python would take it for a module
            compiled = subprocess.run([compiler, *FLAGS, *flags, str(folder / "step.c"), "-o", str(library), "-lm"])
            if compiled.returncode == 0:
                build_data["artifacts"].append(f"/{FOLDER}/{library.name}")
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")

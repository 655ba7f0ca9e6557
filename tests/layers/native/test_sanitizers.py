"""The C files of layers/native under the compiler's sanitizers: stray bytes, undefined behaviour, data races."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
NATIVE = Path("src/foveal/layers/native").resolve()
SANITIZERS = {
    "addresses": "-fsanitize=address,undefined -fno-sanitize-recover=all",
    "threads": "-fsanitize=thread",
}
CPUS = {"base": "", "avx2": "-march=x86-64-v3"}


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("sanitizer", SANITIZERS.values(), ids=SANITIZERS)
@pytest.mark.parametrize("cpu", CPUS.values(), ids=CPUS)
def test_a_sanitizer_finds_nothing(sanitizer: str, cpu: str, tmp_path: Path) -> None:
    if cpu and "avx2" not in Path("/proc/cpuinfo").read_text("utf-8").split():
        pytest.skip("this CPU has no AVX2")
    program = tmp_path / "drive"
    flags = f"-g -O1 -std=gnu11 -Wall -Wextra -Werror -pthread -DFOVEAL_SOURCE=NULL {sanitizer} {cpu}".split()
    sources = [FOLDER / "drive.c", *NATIVE.glob("*.c")]
    subprocess.run(["cc", *flags, f"-I{NATIVE}", *sources, "-o", program, "-lm"], check=True)

    environment = {"ASAN_OPTIONS": "detect_leaks=0"}  # the driver frees nothing
    ran = subprocess.run([program, "3"], capture_output=True, text=True, env=environment, check=False)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")

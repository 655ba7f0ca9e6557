"""engine/machine.py: an instruction set that the kernel lists need not be fast."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from foveal.engine import machine


@pytest.mark.parametrize(
    ("flags", "bfloat16_s", "expected"),
    [
        ("fpu avx2", 0.001, "absent"),  # not tried: without instructions the kernel's word is enough
        ("fpu avx512_bf16", 0.003, "slow"),
        ("fpu avx512_bf16 amx_bf16", 0.001, "fast"),
        ("asimd bf16", 0.001, "fast"),
    ],
)
def test_how_a_cpu_multiplies_bfloat16(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, bfloat16_s: float, expected: str
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "product_s", {torch.bfloat16: bfloat16_s, torch.float32: 0.002}.__getitem__)
    machine.cpu_bfloat16.cache_clear()
    try:
        assert machine.cpu_bfloat16() == expected
    finally:
        machine.cpu_bfloat16.cache_clear()


def test_a_trial_takes_time_and_leaves_the_threads_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert machine.product_s(torch.float32) > 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_two_starts_on_one_machine_agree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpuinfo, found = tmp_path / "cpuinfo", iter(("fast", "slow", "slow"))
    monkeypatch.setattr(machine, "CPUINFO", cpuinfo)
    monkeypatch.setattr(machine, "cpu_bfloat16", lambda: next(found))
    cpuinfo.write_text("model name : A\ncpu MHz : 3400\nflags : avx512_bf16\n")
    assert machine.kept_bfloat16(tmp_path / "cache") == "fast"
    cpuinfo.write_text("model name : A\ncpu MHz : 1200\nflags : avx512_bf16\n")  # busy with something else
    assert machine.kept_bfloat16(tmp_path / "cache") == "fast"
    cpuinfo.write_text("model name : B\ncpu MHz : 1200\nflags : avx512_bf16\n")
    assert machine.kept_bfloat16(tmp_path / "cache") == "slow"
    assert next(found) == "slow"  # nothing was tried a third time


@pytest.mark.parametrize("spoil", ["damaged", "not writable"])
def test_a_trial_is_made_again_where_none_could_be_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spoil: str
) -> None:
    monkeypatch.setattr(machine, "cpu_bfloat16", lambda: "slow")
    folder = tmp_path / "cache"
    if spoil == "damaged":
        machine.kept_bfloat16(folder)
        (file,) = folder.iterdir()
        file.write_bytes(b"\xff sl")
    else:
        folder.write_text("a file where a folder should be")
    assert machine.kept_bfloat16(folder) == "slow"
    assert machine.kept_bfloat16(None) == "slow"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_CACHE_HOME": "/caches", "HOME": "/home/me"}, "/caches/foveal"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.cache/foveal"),
        ({}, None),
    ],
)
def test_where_caches_are(environ: dict[str, str], expected: str | None) -> None:
    assert machine.kept_folder(environ) == (Path(expected) if expected else None)

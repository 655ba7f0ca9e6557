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

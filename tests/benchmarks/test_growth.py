"""benchmarks.growth: slopes, their sentence, and the plot."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.growth import CURVES, Point, described, plot, slope

POINTS = [Point(count, 0.5 + 0.25 * count, 0.010 + 0.002 * count, 10**9 * count, 100) for count in (1, 2, 4)]


def test_the_slope_of_points_on_a_line_is_the_line_s() -> None:
    assert slope(POINTS, lambda point: point.first_s) == pytest.approx(0.25)


def test_a_curve_is_described_by_its_ends_and_slopes() -> None:
    said = described(CURVES["streams"], POINTS)

    assert said.startswith("streams at once, 1 to 4: first token 0.75 to 1.5 s (250 ms each)")
    assert "step 12 to 18 ms (2 ms each), largest memory 1.00 to 4.00 GB" in said


def test_a_plot_is_a_small_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "growth.png"

    plot(dict.fromkeys(CURVES, POINTS), "title", path)

    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size < 60_000

"""Estimates of the time that decoding takes. What matters is what grows with what."""

from __future__ import annotations

from foveal.media.cost import decode_cost_s
from foveal.types import Size
from tests.media.builders import encode, plain

SIZE = Size(100, 100)


def test_it_grows_with_the_pixels() -> None:
    assert decode_cost_s(Size(7000, 7000)) == 4900 * decode_cost_s(SIZE)
    assert 0.5 < decode_cost_s(Size(7000, 7000)) < 5


def test_it_grows_with_the_scans_of_a_jpeg_and_with_nothing_that_looks_like_them() -> None:
    baseline, progressive = (encode(plain("red", SIZE), "JPEG", progressive=p) for p in (False, True))
    many = progressive.replace(b"\xff\xd9", b"\xff\xda" * 500)

    assert decode_cost_s(SIZE, baseline) == decode_cost_s(SIZE)
    assert decode_cost_s(SIZE) < decode_cost_s(SIZE, progressive) < 3 * decode_cost_s(SIZE)
    assert decode_cost_s(SIZE, many) > 50 * decode_cost_s(SIZE)
    assert decode_cost_s(SIZE, b"\x89PNG" + b"\xff\xda" * 500) == decode_cost_s(SIZE)

"""TIFFs of deep samples: every row of the table of samples, in every form that a file may have.

What a pixel must be is computed here from the samples, in float64. That the files are TIFFs is asked of tifffile.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from foveal.media.decode import decode, measure
from foveal.media.refusal import Refused
from tests.media.tiffs import Form, tiff

MAX_PIXELS = 100_000
SIZE = (23, 17)  # width, height
FORMS = [
    Form(),
    Form(order=">"),
    Form(is_big=True),
    Form(order=">", is_big=True),
    Form(deflate=True),
    Form(deflate=True, order=">", predictor=2),
    Form(planar=True, deflate=True, predictor=2),
    Form(rows_per_strip=100),
]
WHITES = {  # what is white, where samples reach it
    "u2": 65535, "u4": 2**32 - 1, "i2": 32767, "i4": 2**31 - 1, "f2": 1.0, "f4": 1.0, "f8": 1.0,
}  # fmt: skip


def shares(num_samples: int) -> NDArray[np.float64]:
    """[height, width, samples], from 0 to 1, both included; two rows of each."""
    shares = np.random.default_rng(1).random((SIZE[1], SIZE[0], num_samples))
    shares[0], shares[1] = 0.0, 1.0
    return shares


def samples(kind: str, shares: NDArray[np.float64], white: float) -> NDArray[Any]:
    values = shares * white
    return values.astype(kind) if kind[0] == "f" else np.floor(values).astype(kind)


def pixels(encoded: bytes) -> NDArray[np.int64]:
    assert measure(encoded, MAX_PIXELS) == SIZE
    return np.asarray(decode(encoded, MAX_PIXELS)).astype(np.int64)


def levels(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.broadcast_to(shares * 255, (*shares.shape[:2], 3))


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("kind", WHITES)
@pytest.mark.parametrize("photometric", [0, 1, 2])
def test_samples_of_all_types_in_all_forms(kind: str, form: Form, photometric: int) -> None:
    if kind[0] == "f" and form.predictor == 2:
        form = replace(form, predictor=3)
    wanted = shares(3 if photometric == 2 else 1)
    encoded = tiff(samples(kind, wanted, WHITES[kind]), replace(form, photometric=photometric))

    expected = levels(1 - wanted if photometric == 0 else wanted)
    np.testing.assert_allclose(pixels(encoded), expected, atol=1.01)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("kind", WHITES)
@pytest.mark.parametrize(("photometric", "num_colours"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("extra", [0, 1, 2])
def test_alpha(kind: str, photometric: int, num_colours: int, extra: int, planar: bool) -> None:
    colours, alpha = shares(num_colours), np.random.default_rng(2).random((*SIZE[::-1], 1))
    if extra == 1:
        colours = colours * alpha
    stored = np.concatenate([colours, alpha], axis=2)
    encoded = tiff(samples(kind, stored, WHITES[kind]), Form(photometric=photometric, extra=extra, planar=planar))

    shown = {0: colours, 1: colours + (1 - alpha), 2: colours * alpha + (1 - alpha)}[extra]
    np.testing.assert_allclose(pixels(encoded), levels(shown), atol=3)  # Pillow blends in 8 bits


@pytest.mark.parametrize("kind", ["u4", "i2", "i4", "f2", "f4", "f8"])
def test_levels_of_8_bits_in_larger_numbers(kind: str) -> None:
    wanted = shares(1)

    np.testing.assert_allclose(pixels(tiff(samples(kind, wanted, 255), Form())), levels(wanted), atol=1.01)


@pytest.mark.parametrize("odd", [1.0001, 300.0, 1e30, float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_one_odd_sample_changes_no_other(kind: str, odd: float) -> None:
    wanted = np.random.default_rng(3).random((50, 40, 1))
    stored = samples(kind, wanted, 1.0)
    stored[7, 7] = odd
    shown = np.asarray(decode(tiff(stored, Form()), MAX_PIXELS)).astype(np.int64)

    wanted[7, 7] = 1.0 if odd > 0 else 0.0
    np.testing.assert_allclose(shown, levels(wanted), atol=1.01)


def test_light_above_white_is_white() -> None:
    stored = np.full((*SIZE[::-1], 1), 0.5, np.float32)
    stored[:5] = 1.9

    assert pixels(tiff(stored, Form()))[:, 0, 0].tolist() == [255] * 5 + [128] * 12


def test_numbers_below_zero_are_black() -> None:
    stored = np.linspace(-1000, 32767, SIZE[0] * SIZE[1]).reshape(*SIZE[::-1], 1).astype(np.int16)
    expected = np.clip(stored.astype(np.float64), 0, None) * 255 / 32767

    np.testing.assert_allclose(pixels(tiff(stored, Form())), np.broadcast_to(expected, (*SIZE[::-1], 3)), atol=1)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_orientation(orientation: int) -> None:
    wanted = shares(1)
    encoded = tiff(samples("f4", wanted, 1.0), Form(orientation=orientation))
    turned = np.rot90(wanted, {3: 2, 6: 3, 8: 1}[orientation])

    assert measure(encoded, MAX_PIXELS) == (turned.shape[1], turned.shape[0])
    np.testing.assert_allclose(np.asarray(decode(encoded, MAX_PIXELS)).astype(int), levels(turned), atol=1.01)


@pytest.mark.parametrize(
    ("stored", "form", "sentence"),
    [
        (np.zeros((4, 4, 4), np.uint32), Form(photometric=5), "a TIFF of CMYK with 32 bits in a sample, which is not"),
        (np.zeros((4, 4, 3), np.uint16), Form(photometric=8), "a TIFF of CIELab with 16 bits in a sample"),
        (np.zeros((4, 4, 1), np.uint64), Form(), "a TIFF of grey with 64 bits in a sample"),
    ],
)
def test_what_is_not_read_is_named(stored: NDArray[Any], form: Form, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        decode(tiff(stored, form), MAX_PIXELS)


def test_damage_is_refused_or_shown() -> None:
    encoded = tiff(samples("f4", shares(3), 1.0), Form(photometric=2, deflate=True, predictor=3))
    chance, sentences = np.random.default_rng(4), set()
    for _ in range(300):
        damaged = bytearray(encoded)
        for place in chance.integers(0, len(damaged), 3):
            damaged[place] = chance.integers(0, 256)
        try:
            decode(bytes(damaged), MAX_PIXELS)
        except Refused as refused:
            sentences.add(str(refused))

    known = ("the picture is damaged", "a TIFF ", "not a picture", "more than")
    assert all(sentence.startswith(known) for sentence in sentences)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("kind", WHITES)
def test_another_decoder_reads_the_same_samples(kind: str, form: Form) -> None:
    tifffile = pytest.importorskip("tifffile", reason="tifffile is in the extra 'test'")
    pytest.importorskip("imagecodecs")
    if kind[0] == "f" and form.predictor == 2:
        form = replace(form, predictor=3)
    stored = samples(kind, shares(3), WHITES[kind])
    read = tifffile.imread(io.BytesIO(tiff(stored, replace(form, photometric=2))))

    np.testing.assert_array_equal(np.moveaxis(read, 0, 2) if form.planar else read, stored)


@pytest.mark.parametrize("compression", ["lzw", "deflate", "packbits", "zstd"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("kind", ["u2", "f4"])
def test_files_of_another_program(kind: str, tile: tuple[int, int] | None, compression: str) -> None:
    tifffile = pytest.importorskip("tifffile", reason="tifffile is in the extra 'test'")
    pytest.importorskip("imagecodecs")
    wanted, stream = shares(1), io.BytesIO()
    predictor = None if compression == "packbits" else {"u2": 2, "f4": 3}[kind]
    tifffile.imwrite(
        stream, samples(kind, wanted, WHITES[kind])[..., 0], tile=tile, compression=compression, predictor=predictor
    )

    np.testing.assert_allclose(pixels(stream.getvalue()), levels(wanted), atol=1.01)

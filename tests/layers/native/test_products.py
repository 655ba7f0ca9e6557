"""layers/native: products with quantised matrices are the formula's, for each form, odd sizes and each build."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from foveal.layers.linear import int4, int8
from foveal.layers.linear.form import Matrix
from foveal.layers.linear.quantised import Quantised, blocks
from foveal.layers.native import library as native_library
from foveal.layers.native import products
from foveal.layers.native.library import CPUINFO, FOLDER, NEEDS
from foveal.layers.native.products import GROUP, Q8_0

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="without a compiler there is no native code")

FLAGS = set(CPUINFO.read_text("utf-8").split())
BUILDS = [name for name, needed in NEEDS.items() if needed <= FLAGS]
# The relative rounding of the few float32 operations after the exact sum.
FLOAT32_STEPS = 4 * 2.0**-24


@pytest.fixture(params=BUILDS)
def build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Products by one build of those that this CPU runs."""
    library = native_library.loaded(FOLDER / f"libfoveal-{request.param}.so.1")
    assert library is not None
    monkeypatch.setattr(native_library, "library", lambda: library)
    pool = library.foveal_pool(3)
    monkeypatch.setattr(native_library, "pool", lambda num_threads: pool)
    yield
    library.foveal_close(ctypes.c_void_p(pool))


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(shape[-1]))


def matrix(form: str, size_out: int, size_in: int, has_bias: bool = True) -> Quantised:
    weight, bias = numbers(size_out, size_in) / size_in**0.5, numbers(size_out) if has_bias else None
    if form == "q8_0":
        groups = weight.unflatten(1, (-1, GROUP))
        scale = (groups.abs().amax(-1, keepdim=True) / 127).half()
        whole = (groups / scale.float()).round().to(torch.int8)
        stored = torch.cat([scale.view(torch.uint8), whole.view(torch.uint8)], -1).flatten(1)
        return blocks(Q8_0, stored, bias, torch.float32)
    make: Callable[[tuple[Matrix, ...]], Quantised] = {"int8": int8.linear, "int4": int4.linear}[form]
    return make((Matrix(weight, bias),))


def whole_weights(matrix: Quantised) -> tuple[NDArray[Any], NDArray[Any]]:
    """The integers [N, K] and the scale of each [N, K], in float64, read from the bytes as the formats say."""
    stored = matrix.weight.numpy()
    if matrix.form == products.INT8:
        assert matrix.scale is not None
        return stored.astype(np.float64), np.broadcast_to(matrix.scale.double().numpy()[:, None], stored.shape)
    groups = stored.reshape(len(stored), -1, products.BLOCK_BYTES[matrix.form])
    scale = groups[:, :, :2].copy().view(np.float16).astype(np.float64)
    values = groups[:, :, 2:]
    whole = values.copy().view(np.int8) if matrix.form == Q8_0 else np.concatenate([values & 15, values >> 4], -1) - 8.0
    return whole.reshape(len(stored), -1).astype(np.float64), np.repeat(scale[:, :, 0], GROUP, 1)


def by_the_formula(matrix: Quantised, x: torch.Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """The product in float64 of the rounded row, and a bound for the magnitudes that were added."""
    largest = np.abs(x.numpy()).max(1, keepdims=True)
    rounded = np.rint(x.numpy() * (np.float32(matrix.limit) / largest)).astype(np.float64)
    whole, scale = whole_weights(matrix)
    factor = largest.astype(np.float64) / matrix.limit
    bias = 0.0 if matrix.bias is None else matrix.bias.double().numpy()
    product, size = rounded @ (whole * scale).T * factor, np.abs(rounded) @ np.abs(whole * scale).T * factor
    return product + bias, size + np.abs(bias)


def assert_follows(matrix: Quantised, x: torch.Tensor) -> None:
    expected, size = by_the_formula(matrix, x)
    steps = FLOAT32_STEPS * (1 if matrix.form == products.INT8 else matrix.in_features / GROUP)
    assert (np.abs(matrix(x).double().numpy() - expected) <= steps * size).all()


FORMS = ("int8", "int4", "q8_0")


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_rows", [*range(1, 21), 40, 41, 65, 515])
def test_any_number_of_rows(form: str, num_rows: int) -> None:
    assert_follows(matrix(form, 67, 96), numbers(num_rows, 96))


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize(
    ("size_out", "size_in"), [(1, 1), (3, 7), (31, 33), (64, 255), (33, 257), (40, 515), (1030, 8)]
)
def test_odd_sizes(size_out: int, size_in: int) -> None:
    assert_follows(matrix("int8", size_out, size_in), numbers(5, size_in))


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("form", ["int4", "q8_0"])
@pytest.mark.parametrize(("size_out", "size_in"), [(1, 32), (33, 224), (40, 288), (7, 544)])
def test_odd_numbers_of_groups(form: str, size_out: int, size_in: int) -> None:
    assert_follows(matrix(form, size_out, size_in, has_bias=False), numbers(5, size_in))


@pytest.mark.usefixtures("build")
def test_more_rows_than_are_rounded_at_once() -> None:
    assert_follows(matrix("int8", 40, 32), numbers(4099, 32))


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("form", FORMS)
def test_a_rows_numbers_do_not_depend_on_its_neighbours(form: str) -> None:
    product, x = matrix(form, 67, 544), numbers(130, 544) * torch.logspace(-3, 3, 130)[:, None]

    together = product(x)

    assert torch.equal(torch.cat([product(row[None]) for row in x]), together)
    assert torch.equal(product(x[17:40]), together[17:40])


@pytest.mark.usefixtures("build")
def test_the_largest_sums_fit() -> None:
    product = int8.linear((Matrix(torch.ones(3, 8192)),))

    assert product.limit == (2**31 - 1) // (127 * 8192)
    assert product(torch.ones(2, 8192)).tolist() == [[8192.0] * 3] * 2


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("form", FORMS)
def test_a_row_of_nothing_is_the_bias(form: str) -> None:
    product = matrix(form, 8, 64)

    assert product.bias is not None
    assert torch.equal(product(torch.zeros(1, 64))[0], product.bias)


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_a_row_that_is_not_finite_stays_so_and_hurts_no_other(form: str, number: float) -> None:
    product, x = matrix(form, 8, 64), numbers(3, 64)
    x[1, 40] = number

    y = product(x)

    assert y[1].isnan().all()
    assert y[[0, 2]].isfinite().all()


@pytest.mark.usefixtures("build")
def test_rows_that_lie_apart_are_read_where_they_lie() -> None:
    product, wide = matrix("int8", 8, 64), numbers(5, 200)

    assert torch.equal(product(wide[:, 30:94]), product(wide[:, 30:94].clone()))
    assert torch.equal(product(wide.T[:64].T), product(wide[:, :64].clone()))


@pytest.mark.parametrize("form", FORMS)
def test_without_native_code_torch_computes_the_same(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    product, x = matrix(form, 67, 544), numbers(9, 544)
    native = product(x)
    monkeypatch.setattr("foveal.layers.linear.quantised.library", lambda: None)

    torch.testing.assert_close(product(x), native, rtol=1e-5, atol=1e-5)

"""layers/native: products with every type of GGUF's blocks are the formula's, however many rows there are."""

from __future__ import annotations

import ctypes
import shutil
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pytest
import torch

from foveal.layers.linear.quantised import Quantised, blocks
from foveal.layers.native import library as native_library
from foveal.layers.native.library import BLOCK_TYPES, CPUINFO, FOLDER, NEEDS
from foveal.layers.native.products import FORM_OF, GROUP
from tests.layers.test_blocks import random_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="without a compiler there is no native code")

FLAGS = set(CPUINFO.read_text("utf-8").split())
BUILDS = [name for name, needed in NEEDS.items() if needed <= FLAGS]


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


def matrix(kind: str, size_out: int, size_in: int) -> Quantised:
    bias = torch.randn(size_out, generator=torch.Generator().manual_seed(3))
    return blocks(FORM_OF[kind], torch.from_numpy(random_blocks(kind, size_out, size_in)), bias, torch.float32)


def rows(num_rows: int, size_in: int) -> torch.Tensor:
    scale = torch.logspace(-2, 2, num_rows)[:, None]
    return torch.randn(num_rows, size_in, generator=torch.Generator().manual_seed(size_in)) * scale


def by_the_formula(product: Quantised, kind: str, x: torch.Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """In float64: the product of the rounded rows, and a bound of what float32 may lose of what was added."""
    assert product.bias is not None
    weights = gguf.quants.dequantize(product.weight.numpy(), gguf.GGMLQuantizationType[kind]).astype(np.float64)
    largest = np.abs(x.numpy()).max(1, keepdims=True)
    rounded = np.rint(x.numpy() * (np.float32(product.limit) / largest)) * (largest.astype(np.float64) / product.limit)
    bias = product.bias.double().numpy()
    size = np.abs(rounded) @ np.abs(weights).T + np.abs(bias)
    if kind in ("Q2_K", "Q4_K", "Q5_K", "Q4_1", "Q5_1"):  # minima are added apart from what they are taken from
        size += np.abs(rounded).sum(1, keepdims=True) * np.abs(weights).max() * 2
    return rounded @ weights.T + bias, size * product.in_features / GROUP * 4 * 2.0**-24


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("kind", BLOCK_TYPES)
@pytest.mark.parametrize("num_rows", [1, 2, 3, 7, 16, 17, 65, 515])
def test_any_number_of_rows(kind: str, num_rows: int) -> None:
    product, x = matrix(kind, 67, 512), rows(num_rows, 512)

    expected, allowed = by_the_formula(product, kind, x)

    assert (np.abs(product(x).double().numpy() - expected) <= allowed).all()


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("kind", BLOCK_TYPES)
@pytest.mark.parametrize(("size_out", "size_in"), [(1, 256), (9, 1280), (40, 768)])
def test_a_rows_numbers_do_not_depend_on_its_neighbours(kind: str, size_out: int, size_in: int) -> None:
    product, x = matrix(kind, size_out, size_in), rows(40, size_in)

    together = product(x)

    assert torch.equal(torch.cat([product(row[None]) for row in x]), together)
    assert torch.equal(product(x[5:25]), together[5:25])


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("num_rows", [1, 20])
def test_the_largest_sums_of_q6_k_fit(num_rows: int) -> None:
    stored = np.zeros((1, 210), dtype=np.uint8)
    stored[:, 192:208] = 0x80  # factors of -128, and numbers of -32
    stored[:, 208:] = np.frombuffer(np.float16(1).tobytes(), np.uint8)
    product = blocks(FORM_OF["Q6_K"], torch.from_numpy(stored), None, torch.float32)

    assert product(torch.ones(num_rows, 256)).tolist() == [[4096.0 * 256]] * num_rows


@pytest.mark.parametrize("kind", BLOCK_TYPES)
def test_without_native_code_torch_computes_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    product, x = matrix(kind, 67, 512), rows(9, 512)
    native = product(x)
    monkeypatch.setattr("foveal.layers.linear.quantised.library", lambda: None)

    size = native.abs().amax(1, keepdim=True)
    torch.testing.assert_close(product(x) / size, native / size, rtol=1e-5, atol=2e-5)

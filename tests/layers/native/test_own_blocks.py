"""layers/native: products with our own blocks are those of the numbers that were packed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from foveal.layers.linear import own_blocks
from foveal.layers.linear.quantised import blocks, dequantised
from foveal.layers.native.library import OWN_TYPES
from foveal.layers.native.products import FORM_OF
from tests.layers.native.test_blocks import build, rows

__all__ = ["build"]  # a fixture

N, K = 67, 512
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=torch.float64)
E2M1 = torch.cat([E2M1, -E2M1])
RANDOM = torch.Generator().manual_seed(4)
PLACES = torch.randint(0, 16, (N, K), generator=RANDOM)
SCALES = torch.rand(N, K // 32, generator=RANDOM) + 0.01


def spread(of_groups: Tensor, size: int = 32) -> Tensor:
    return of_groups.double().repeat_interleave(size, 1)


def f8() -> tuple[Tensor, Tensor]:
    numbers = (torch.randn(N, K, generator=RANDOM) * 100).clamp(-448, 448).to(torch.float8_e4m3fn)
    return own_blocks.f8(numbers, SCALES), numbers.double() * spread(SCALES)


def e2m1() -> tuple[Tensor, Tensor]:
    scales = (torch.rand(N, K // 16, generator=RANDOM) + 0.1).to(torch.float8_e4m3fn).float()
    return own_blocks.e2m1(PLACES, scales, 0.3), E2M1[PLACES] * spread(scales, 16) * 0.3


def nf4() -> tuple[Tensor, Tensor]:
    return own_blocks.nf4(PLACES, SCALES), own_blocks.NF4.double()[PLACES] * spread(SCALES)


def u4() -> tuple[Tensor, Tensor]:
    zeros = torch.randint(0, 16, (N, K // 32), generator=RANDOM)
    return own_blocks.u4(PLACES, SCALES.half(), zeros), (PLACES - spread(zeros)) * spread(SCALES.half())


PACKED: dict[str, tuple[Callable[[], tuple[Tensor, Tensor]], float]] = {  # what may be lost, of an output's size
    "F8": (f8, 1e-4),
    "E2M1": (e2m1, 1e-4),
    "NF4": (nf4, 2e-4),
    "U4": (u4, 1e-4),
}


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("kind", OWN_TYPES)
@pytest.mark.parametrize("num_rows", [1, 3, 17, 65])
def test_products_are_those_of_what_was_packed(kind: str, num_rows: int) -> None:
    make, lost = PACKED[kind]
    packed, weight = make()
    product, x = blocks(FORM_OF[kind], packed, None, torch.float32), rows(num_rows, K)

    y, expected = product(x).double(), x.double() @ weight.T

    assert ((y - expected).square().mean(1) / expected.square().mean(1)).sqrt().max() < lost
    assert torch.equal(product(x[-1:]), product(x)[-1:])


@pytest.mark.parametrize("kind", OWN_TYPES)
def test_blocks_stand_for_what_was_packed(kind: str) -> None:
    packed, weight = PACKED[kind][0]()

    found = dequantised(blocks(FORM_OF[kind], packed, None, torch.float32)).double()

    assert (found - weight).abs().max() <= {"F8": 3e-4, "NF4": 7e-5}.get(kind, 1e-6) * weight.abs().max()


@pytest.mark.parametrize("kind", OWN_TYPES)
def test_without_native_code_torch_computes_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    product, x = blocks(FORM_OF[kind], PACKED[kind][0]()[0], None, torch.float32), rows(9, K)
    native = product(x)
    monkeypatch.setattr("foveal.layers.linear.quantised.library", lambda: None)

    size = native.abs().amax(1, keepdim=True)
    torch.testing.assert_close(product(x) / size, native / size, rtol=1e-5, atol=2e-5)

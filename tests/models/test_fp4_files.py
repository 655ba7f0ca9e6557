"""Files with floats of four bits: logits are those of the weights that the files stand for."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from foveal.layers.linear.packed.readers import packed_matrices
from tests.models.quantised import Files, Packed, published
from tests.parity.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
E2M1 += [-value for value in E2M1]
NF4 = [  # bitsandbytes: quantiles of a normal distribution
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
]
FP4 = [value / 12 for value in (0, 0.0625, 8, 12, 4, 6, 2, 3)]
FP4 += [-value for value in FP4]


def nearest(values: np.ndarray, table: list[float]) -> np.ndarray:
    return np.asarray(np.abs(values[..., None] - np.array(table)).argmin(-1))


def in_bytes(places: np.ndarray, first: int) -> Tensor:
    """first: the bits of the first of two neighbours, 0 or 4."""
    pairs = places.reshape(*places.shape[:-1], -1, 2)
    return torch.from_numpy((pairs[..., 0] << first | pairs[..., 1] << 4 - first).astype(np.uint8))


def nvfp4(weight: Tensor, is_modelopt: bool) -> Packed:
    """Groups of 16 have a scale of 8 bits, and all have one of 32. One library divides by it, the other multiplies."""
    groups = weight.double().reshape(len(weight), -1, 16)
    whole = float(np.float32(groups.abs().max() / (6 * 448)))
    scale = (groups.abs().amax(-1) / 6 / whole).to(torch.float8_e4m3fn)
    real = scale.double() * whole
    places = nearest((groups / real[..., None]).nan_to_num().numpy(), E2M1)
    packed = in_bytes(places.reshape(weight.shape), 0)
    meant = (torch.tensor(E2M1, dtype=torch.float64)[places] * real[..., None]).reshape(weight.shape).float()
    if is_modelopt:
        return {"weight": packed, "weight_scale": scale, "weight_scale_2": torch.tensor(whole)}, meant
    return {"weight_packed": packed, "weight_scale": scale, "weight_global_scale": torch.tensor([1 / whole])}, meant


def mxfp4(weight: Tensor, group: int = 32) -> Packed:
    """Groups share a power of two."""
    groups = weight.double().reshape(len(weight), -1, group)
    exponents = (groups.abs().amax(-1) / 6).log2().ceil()
    places = nearest((groups / exponents.exp2()[..., None]).numpy(), E2M1)
    meant = torch.tensor(E2M1, dtype=torch.float64)[places] * exponents.exp2()[..., None]
    packed = in_bytes(places.reshape(weight.shape), 0)
    return {"weight_packed": packed, "weight_scale": (exponents + 127).to(torch.uint8)}, meant.reshape(
        weight.shape
    ).float()


def bitsandbytes(weight: Tensor, kind: str, is_nested: bool) -> Packed:
    """Blocks of 64 of the flat matrix are multiples of their largest magnitudes, which may be quantised, too."""
    table = NF4 if kind == "nf4" else FP4
    flat = weight.double().flatten().numpy()
    blocks = np.pad(flat, (0, -len(flat) % 64)).reshape(-1, 64)
    most = np.abs(blocks).max(-1)
    state: dict[str, Any] = {"quant_type": kind, "blocksize": 64, "dtype": "bfloat16", "shape": list(weight.shape)}
    tensors = {"weight.absmax": torch.from_numpy(most).float()}
    if is_nested:
        offset, map_of_256 = float(most.mean()), np.linspace(-1, 1, 256).astype(np.float32)
        nested = np.pad(most - offset, (0, -len(most) % 256)).reshape(-1, 256)
        largest = np.abs(nested).max(-1).astype(np.float32)
        places = nearest(nested / largest[:, None], list(map_of_256)).reshape(-1)[: len(most)]
        most = map_of_256[places].astype(float) * np.repeat(largest, 256)[: len(most)] + offset
        state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": offset}
        tensors = {
            "weight.absmax": torch.from_numpy(places.astype(np.uint8)),
            "weight.nested_absmax": torch.from_numpy(largest),
            "weight.nested_quant_map": torch.from_numpy(map_of_256),
        }
    places = nearest(blocks / most[:, None], table)
    meant = (np.array(table)[places] * most[:, None]).reshape(-1)[: len(flat)].reshape(weight.shape)
    tensors |= {
        "weight": in_bytes(places.reshape(-1)[: len(flat)], 4)[:, None],
        "weight.quant_map": torch.tensor(table),
        f"weight.quant_state.bitsandbytes__{kind}": torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8),
    }
    return tensors, torch.from_numpy(meant).float()


def int8(weight: Tensor) -> Packed:
    most = weight.abs().amax(1)
    numbers = (weight * 127 / most[:, None]).round().to(torch.int8)
    meant = (numbers.double() * most.double()[:, None] / 127).float()
    return {"weight": numbers, "SCB": most, "weight_format": torch.tensor(0, dtype=torch.uint8)}, meant


BNB = {"quant_method": "bitsandbytes", "load_in_4bit": True}
TENSORS = {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}


@pytest.mark.parametrize("quantization", ["published", "none"])
@pytest.mark.parametrize(
    ("settings", "pack"),
    [
        pytest.param(TENSORS, partial(nvfp4, is_modelopt=False), id="nvfp4"),
        pytest.param(
            {"quant_method": "modelopt", "quant_algo": "NVFP4"}, partial(nvfp4, is_modelopt=True), id="modelopt"
        ),
        pytest.param({**TENSORS, "format": "mxfp4-pack-quantized"}, partial(mxfp4, group=16), id="mxfp4"),
        pytest.param(BNB, partial(bitsandbytes, kind="nf4", is_nested=False), id="nf4"),
        pytest.param(BNB, partial(bitsandbytes, kind="nf4", is_nested=True), id="nf4, quantised twice"),
        pytest.param(BNB, partial(bitsandbytes, kind="fp4", is_nested=True), id="fp4"),
        pytest.param({"quant_method": "bitsandbytes", "load_in_8bit": True}, int8, id="int8"),
    ],
)
def test_files_of_four_bits(
    tmp_path: Path, settings: dict[str, Any], pack: Callable[[Tensor], Packed], quantization: str
) -> None:
    FAMILIES["qwen2_5_vl"].make(tmp_path, 0)

    published(tmp_path, settings, pack).check(quantization)


# --- as the libraries write them --------------------------------------------------------------------------------------


def by_compressed_tensors(weight: Tensor, form: str, group: int) -> Packed:
    library = pytest.importorskip("compressed_tensors")
    args = library.quantization.QuantizationArgs(num_bits=4, type="float", strategy="group", group_size=group)
    most = weight.view(len(weight), -1, group).abs().amax(-1)
    scale, tensors = (most / 6).log2().ceil().exp2(), {}
    if form == "nvfp4-pack-quantized":
        args = args.model_copy(update={"strategy": "tensor_group"})
        whole = 448 * 6 / weight.abs().max().reshape(1)
        scale = (most / 6 * whole).to(torch.float8_e4m3fn).float()
        tensors = {"weight_global_scale": whole}
    scheme = library.quantization.QuantizationScheme(targets=["Linear"], weights=args)
    compressor = library.compressors.BaseCompressor.get_value_from_registry(form)
    tensors = compressor.compress({"weight": weight, "weight_scale": scale, **tensors}, scheme)
    real = scale / tensors.get("weight_global_scale", torch.ones(1))
    numbers = library.compressors.nvfp4.helpers.unpack_fp4_from_uint8(tensors["weight_packed"], *weight.shape)
    return tensors, (numbers.double() * real.double().repeat_interleave(group, 1)).float()


@pytest.mark.parametrize(("form", "group"), [("nvfp4-pack-quantized", 16), ("mxfp4-pack-quantized", 32)])
def test_files_of_compressed_tensors(form: str, group: int) -> None:
    tensors, expected = by_compressed_tensors(WEIGHT, form, group)

    assert_rows({**TENSORS, "format": form}, tensors, expected)


@pytest.mark.parametrize("is_nested", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_files_of_bitsandbytes(kind: str, is_nested: bool) -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    packed, state = functional.quantize_4bit(WEIGHT, quant_type=kind, compress_statistics=is_nested)
    tensors = {"weight": packed} | {f"weight.{name}": tensor for name, tensor in state.as_dict(packed=True).items()}

    assert_rows(BNB, tensors, functional.dequantize_4bit(packed, state))


WEIGHT = torch.randn(40, 96, generator=torch.Generator().manual_seed(5))


def assert_rows(settings: dict[str, Any], tensors: dict[str, Tensor], expected: Tensor) -> None:
    files = Files({f"up.{ending}": tensor for ending, tensor in tensors.items()})
    find = packed_matrices(settings, files, torch.float32, torch.device("cpu"))
    assert find is not None
    packed = find("up")
    assert packed is not None
    torch.testing.assert_close(packed.rows(slice(0, 40)), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(packed.rows(torch.tensor([39, 3])), expected[[39, 3]], atol=1e-6, rtol=1e-5)

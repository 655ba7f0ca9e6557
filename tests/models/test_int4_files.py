"""AWQ, GPTQ and pack-quantized files: logits are those of the weights that the files stand for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from foveal.errors import CheckpointError
from foveal.layers.linear.load import Weights, load_linear
from foveal.layers.linear.packed.readers import packed_matrices
from foveal.layers.linear.policy import policy_of
from foveal.layers.linear.quantised import Quantised, dequantised
from foveal.layers.native.products import FORM_OF, INT8, Q4_0, Q8_0
from tests.models.quantised import Files, Packed, compressed, published
from tests.parity.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

U4 = FORM_OF["U4"]
RANDOM = np.random.default_rng(3)


def rounded(weight: Tensor, group: int, bits: int, symmetric: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers without a sign [N, K], zero points [N, G] and float16 scales [N, G]."""
    groups = weight.double().numpy().reshape(len(weight), -1, group)
    most = 2**bits - 1
    low, high = np.minimum(groups.min(-1), 0), np.maximum(groups.max(-1), 0)
    scale = np.abs(groups).max(-1) * 2 / most if symmetric else (high - low) / most
    scale = scale.astype(np.float16)
    zero = np.full(scale.shape, 2 ** (bits - 1)) if symmetric else np.round(-low / scale.astype(float)).clip(0, most)
    numbers = np.round(groups / scale.astype(float)[..., None]) + zero[..., None]
    return numbers.clip(0, most).astype(int).reshape(weight.shape), zero.astype(int), scale


def meant(numbers: np.ndarray, zero: np.ndarray, scale: np.ndarray, group_of: np.ndarray) -> Tensor:
    """group_of: the group of each input."""
    weight = (numbers - zero[:, group_of]) * scale.astype(np.float64)[:, group_of]
    return torch.from_numpy(weight).float()


def words_of(numbers: np.ndarray, bits: int, order: list[int] | None = None) -> Tensor:
    """Rows of numbers in words of 32 bits: of each 32 / bits numbers, the order[i]-th is the i-th from the low end."""
    in_word = 32 // bits
    order = order or list(range(in_word))
    rows = np.pad(numbers, ((0, 0), (0, -numbers.shape[1] % in_word)))
    words = rows.reshape(len(rows), -1, in_word)[..., order].astype(np.uint64)
    packed = (words << np.arange(in_word, dtype=np.uint64) * np.uint64(bits)).sum(-1)
    return torch.from_numpy(packed.astype(np.uint32).view(np.int32))


def awq(weight: Tensor, group: int = 16) -> Packed:
    numbers, zero, scale = rounded(weight, group, 4, symmetric=False)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    tensors = {
        "qweight": words_of(numbers.T, 4, order),
        "qzeros": words_of(zero.T, 4, order),
        "scales": torch.from_numpy(scale.T),
    }
    return tensors, meant(numbers, zero, scale, np.arange(weight.shape[1]) // group)


def gptq(
    weight: Tensor, group: int = 16, bits: int = 4, symmetric: bool = True, acts: bool = False, lacks: int = 1
) -> Packed:
    """acts: inputs were quantised in the order of their activations, so that groups are anywhere."""
    groups = np.arange(weight.shape[1]) // group
    order = RANDOM.permutation(weight.shape[1]) if acts else np.arange(weight.shape[1])
    numbers, zero, scale = rounded(weight[:, order.tolist()], group, bits, symmetric)
    numbers, group_of = numbers[:, np.argsort(order)], groups[np.argsort(order)]
    tensors = {
        "qweight": words_of(numbers, bits).T,
        "qzeros": words_of((zero.T - lacks) % 2**bits, bits),
        "scales": torch.from_numpy(scale.T),
        "g_idx": torch.from_numpy(group_of.astype(np.int32)),
    }
    return tensors, meant(numbers, zero, scale, group_of)


TENSORS = {"quant_method": "compressed-tensors", "format": "pack-quantized"}
GROUPS: dict[str, Any] = {"num_bits": 4, "strategy": "group", "group_size": 16}
GPTQ = {"quant_method": "gptq", "bits": 4, "desc_act": True, "checkpoint_format": "gptq"}


@pytest.mark.parametrize("quantization", ["published", "none"])
@pytest.mark.parametrize(
    ("settings", "pack"),
    [
        pytest.param({"quant_method": "awq", "bits": 4, "version": "gemm"}, awq, id="awq"),
        pytest.param(GPTQ, gptq, id="gptq"),
        pytest.param({**GPTQ, "bits": 8}, partial(gptq, bits=8), id="gptq, 8 bits"),
        pytest.param(GPTQ, partial(gptq, symmetric=False), id="gptq with zero points"),
        pytest.param({**GPTQ, "bits": 8}, partial(gptq, bits=8, symmetric=False), id="gptq, 8 bits with zero points"),
        pytest.param(GPTQ, partial(gptq, acts=True), id="gptq in the order of activations"),
        pytest.param(
            {**GPTQ, "checkpoint_format": "gptq_v2"}, partial(gptq, symmetric=False, lacks=0), id="gptq, second format"
        ),
        pytest.param(TENSORS, partial(compressed, **GROUPS, symmetric=True), id="pack-quantized"),
        pytest.param(TENSORS, partial(compressed, **GROUPS, symmetric=False), id="pack-quantized with zero points"),
        pytest.param(TENSORS, partial(compressed, num_bits=8, strategy="channel"), id="pack-quantized, 8 bits"),
        pytest.param(TENSORS, partial(compressed, num_bits=4, strategy="tensor"), id="pack-quantized, one scale"),
        pytest.param(
            {**TENSORS, "format": "int-quantized"},
            partial(compressed, form="int-quantized", num_bits=8, strategy="channel"),
            id="int-quantized",
        ),
        pytest.param(
            {**TENSORS, "format": "int-quantized"},
            partial(compressed, form="int-quantized", num_bits=8, strategy="channel", symmetric=False),
            id="int-quantized with zero points",
        ),
    ],
)
def test_int4_files(
    tmp_path: Path, settings: dict[str, Any], pack: Callable[[Tensor], Packed], quantization: str
) -> None:
    FAMILIES["qwen2_5_vl"].make(tmp_path, 0)

    published(tmp_path, settings, pack).check(quantization)


def test_gptq_s_groups_in_the_order_of_activations_have_to_be_named(tmp_path: Path) -> None:
    """Without g_idx the numbers would be read with the scales of other groups."""

    def without_groups(weight: Tensor) -> Packed:
        tensors, means = gptq(weight, acts=True)
        return {name: tensor for name, tensor in tensors.items() if name != "g_idx"}, means

    FAMILIES["qwen2_5_vl"].make(tmp_path, 0)

    with pytest.raises(CheckpointError, match="g_idx is missing"):
        published(tmp_path, GPTQ, without_groups).check("published")


# --- in blocks --------------------------------------------------------------------------------------------------------


WEIGHT, X = (torch.randn(size, 128, generator=torch.Generator().manual_seed(5)) for size in (40, 6))
PACK = partial(compressed, num_bits=4, strategy="group", group_size=64)


@pytest.mark.parametrize(
    ("settings", "pack", "form", "bits"),
    [
        ({"quant_method": "awq"}, partial(awq, group=32), U4, 5),
        (GPTQ, partial(gptq, group=32), Q4_0, 4.5),
        (GPTQ, partial(gptq, group=64, symmetric=False), U4, 5),
        (GPTQ | {"bits": 8}, partial(gptq, group=32, bits=8), Q8_0, 8.5),
        (TENSORS, PACK, Q4_0, 4.5),
        (TENSORS, partial(compressed, num_bits=8, strategy="channel"), INT8, 8),
    ],
)
def test_numbers_lie_in_blocks_where_nothing_is_lost(
    settings: dict[str, Any], pack: Callable[[Tensor], Packed], form: int, bits: float
) -> None:
    tensors, expected = pack(WEIGHT)
    files = Files({f"up.{ending}": tensor for ending, tensor in tensors.items()} | {"up.bias": torch.ones(40)})
    packed = packed_matrices(settings, files, torch.float32, torch.device("cpu"))

    linear = load_linear(Weights(files, policy_of("published"), packed=packed), "up")

    assert isinstance(linear, Quantised)
    assert (linear.form, linear.weight.numel() * linear.weight.element_size() * 8 / WEIGHT.numel()) == (form, bits)
    assert torch.equal(dequantised(linear), expected)
    torch.testing.assert_close(linear(X), X @ expected.T + 1, atol=1e-3, rtol=0)


def test_a_fused_matrix_of_several_parts_is_one() -> None:
    parts = {name: PACK(WEIGHT[:rows]) for name, rows in (("q", 40), ("k", 24))}
    files = Files({f"{name}.{e}": tensor for name, (tensors, _) in parts.items() for e, tensor in tensors.items()})
    packed = packed_matrices(TENSORS, files, torch.float32, torch.device("cpu"))

    linear = load_linear(Weights(files, policy_of("published"), packed=packed), "qk", ("q", "k"))

    assert isinstance(linear, Quantised)
    assert torch.equal(dequantised(linear), torch.cat([weight for _, weight in parts.values()]))


# --- broken files -----------------------------------------------------------------------------------------------------

BREAKS: list[Callable[[Tensor], Tensor]] = [
    lambda tensor: tensor[:-1],
    lambda tensor: tensor[..., :-1],
    lambda tensor: tensor.reshape(-1)[:0],
    lambda tensor: tensor.reshape(-1)[0],
    lambda tensor: tensor[None],
    lambda tensor: tensor.to(torch.float64),
    lambda tensor: tensor.to(torch.bool),
    lambda tensor: torch.zeros_like(tensor),
]


@pytest.mark.parametrize("settings", [{"quant_method": "awq"}, GPTQ, TENSORS], ids=["awq", "gptq", "pack-quantized"])
def test_a_broken_tensor_is_named(settings: dict[str, Any]) -> None:
    """Whatever one tensor is like: the matrix has its size, or an error tells which tensor is wrong."""
    make: dict[str, Callable[[Tensor], Packed]] = {
        "awq": awq,
        "gptq": partial(gptq, acts=True),
        "compressed-tensors": PACK,
    }
    tensors, _ = make[settings["quant_method"]](WEIGHT)
    for ending, tensor in tensors.items():
        for broken in [None, *(change(tensor) for change in BREAKS if tensor.dim())]:
            files = Files({f"up.{name}": t for name, t in (tensors | {ending: broken}).items() if t is not None})
            find = packed_matrices(settings, files, torch.float32, torch.device("cpu"))
            assert find is not None
            assert outcome(find) == "" or "model.safetensors: up." in outcome(find)


def outcome(find: Callable[[str], Any]) -> str:
    """Of reading a matrix: what the error says, or nothing."""
    try:
        found = find("up")
        if found is not None:
            found.linear(None)
            found.rows(slice(0, 5))
    except CheckpointError as error:
        return str(error)
    return ""

"""Writes small checkpoints as quantisers publish them, and beside each what its weights are as plain numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from foveal.layers.linear.form import all_plain
from foveal.layers.linear.policy import policy_of
from foveal.models.registry import load_model, load_processor
from tests.builders import picture, prepared_prompt
from tests.parity.naive import NaiveRun

Packed = tuple[dict[str, Tensor], Tensor]
"""The tensors that a file has for a matrix, by the endings of their names, and the weight that they stand for."""


@dataclass(frozen=True)
class Published:
    """A quantised checkpoint, and the same weights in floats."""

    folder: Path
    plain: Path

    def check(self, quantization: str) -> None:
        """Served so, its logits are those of the weights that it stands for."""
        torch.testing.assert_close(logits(self.folder, quantization), logits(self.plain, "none"), atol=1e-3, rtol=0)


def compressed(
    weight: Tensor, form: str = "pack-quantized", dtype: torch.dtype = torch.bfloat16, **settings: Any
) -> Packed:
    """By the library's own compressor."""
    library = pytest.importorskip("compressed_tensors")
    quantization = library.quantization
    args = quantization.QuantizationArgs(**settings)
    groups = {"group": (-1, args.group_size or 1), "channel": (1, weight.shape[1]), "tensor": (1, weight.numel())}
    by_group = weight.view(weight.shape[0] if args.strategy != "tensor" else 1, *groups[args.strategy])
    low, high = by_group.amin(-1).to(dtype), by_group.amax(-1).to(dtype)
    scale, zero = quantization.utils.calculate_qparams(low, high, args)
    scale, zero = (t.reshape(-1) if args.strategy == "tensor" else t for t in (scale, zero))
    scheme = quantization.QuantizationScheme(targets=["Linear"], weights=args)
    compressor = library.compressors.BaseCompressor.get_value_from_registry(form)
    tensors = compressor.compress({"weight": weight, "weight_scale": scale, "weight_zero_point": zero}, scheme)
    exact = compressor.decompress({n: t.float() if "scale" in n else t for n, t in tensors.items()}, scheme)
    return tensors, exact["weight"].float()


def published(
    source: Path, settings: dict[str, Any], pack: Callable[[Tensor], Packed], names: str = "_proj.weight"
) -> Published:
    """`source` with its decoder's matrices packed: those whose names end so."""
    tensors = load_file(source / "model.safetensors")
    packed, plain = dict(tensors), dict(tensors)
    for name, weight in tensors.items():
        is_tower = any(part in name for part in ("vision", "visual", "projector"))
        if name.endswith(names) and weight.dim() == 2 and not is_tower:
            own, plain[name] = pack(weight.float())
            del packed[name]
            packed |= {name.removesuffix("weight") + ending: tensor.contiguous() for ending, tensor in own.items()}
    assert len(packed) > len(tensors)
    config = json.loads((source / "config.json").read_text())
    made = Published(source / "packed", source / "plain")
    for folder, files in ((made.folder, packed), (made.plain, plain)):
        folder.mkdir()
        for file in source.glob("*.json"):
            shutil.copy(file, folder)
        save_file({name: tensor.contiguous() for name, tensor in files.items()}, folder / "model.safetensors")
    (made.folder / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
    return made


def logits(folder: Path, quantization: str) -> Tensor:
    """Of a prompt with a picture where there is a processor, and of a token after it."""
    policy = all_plain if quantization == "none" else policy_of(quantization)
    model, processor = load_model(folder, torch.device("cpu"), torch.float32, policy=policy), load_processor(folder)
    segments, pictures = [[1, 70, 80], [90, 91, 92]], [picture(90, 60)]
    prepared = prepared_prompt(processor, segments, pictures) if processor else prepared_prompt(None, segments[:1], [])
    run = NaiveRun(model, prepared.prompt, len(prepared.prompt.token_ids) + 2, prepared.pixels)
    return model.decoder.logits(torch.cat([run.prefill(), run.compute([5])]))


class Files(dict[str, Tensor]):
    """Tensors by name, as a checkpoint has them."""

    def stored(self, name: str) -> Tensor:
        return self[name]

    def place(self, name: str) -> str:
        return "model.safetensors"

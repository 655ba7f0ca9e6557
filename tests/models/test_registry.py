"""A checkpoint finds its family, and the server's half of it needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from foveal.errors import CheckpointError
from foveal.models.registry import load_model, load_processor
from tests.builders import tiny_phi3_v

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


def test_a_checkpoint_gives_its_processor_and_its_model(tmp_path: Path) -> None:
    shares: list[float] = []
    folder = tiny_phi3_v(tmp_path)

    processor, model = load_processor(folder), load_model(folder, CPU, torch.bfloat16, shares.append)

    assert processor is not None
    assert processor.fingerprint == "phi3_v crop_size=28 num_crops=4"
    assert model.decoder.vocab_size == 265
    assert model.decoder.max_model_len == 1024
    assert tuple(model.decoder.kv_shape) == (2, 2, 8)
    assert shares[-1] == 1.0


def test_an_unknown_model_type_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))

    for load in (load_processor, lambda folder: load_model(folder, CPU, torch.float32)):
        with pytest.raises(CheckpointError, match=r"model_type 'gpt2'; supported: .*phi3_v"):
            load(tmp_path)


def test_loading_a_processor_imports_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from foveal.models.registry import load_processor; load_processor(sys.argv[1]);"
        "sys.exit(' '.join({'torch', 'huggingface_hub', 'safetensors'} & set(sys.modules)))"
    )

    run = subprocess.run([sys.executable, "-c", program, tiny_phi3_v(tmp_path)], capture_output=True, check=False)

    assert run.stderr.strip() == b""

"""Whatever a setting of a GGUF file is, the file is read or refused in one sentence."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch

from foveal.conversation.tokenizer import load_tokenizer
from foveal.errors import CheckpointError
from foveal.layers.linear.policy import policy_of
from foveal.models.gguf.folder import folder_of
from foveal.models.registry import load_model, load_processor
from tests.models.gguf.convert import write_decoder, write_vision
from tests.parity.families import FAMILIES

NUMBERS = (0, -1, 1, 3, 2**31, 2**63, 0.0, -1.5, math.nan, math.inf, 1e30)
ODD = (*NUMBERS, "", "linear", "yarn", "longrope", True, False, [1], [1, 2, 3, 4], [0.5, math.nan], ["a", "b"])
ALSO = ("rope.scaling.type", "rope.scaling.factor", "rope.scaling.attn_factor", "rope.scaling.yarn_log_multiplier")


def changed(source: Path, target: Path, name: str, value: Any) -> Path:
    """The same file with one other setting."""
    read = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, read.fields["general.architecture"].contents())
    for own, field in read.fields.items():
        if own not in (name, "general.architecture") and not own.startswith("GGUF."):
            inner = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(own, field.contents(), field.types[0], inner)
    first = value[0] if isinstance(value, list) else value
    is_large = isinstance(first, int) and first >= 2**31
    kind = gguf.GGUFValueType.UINT64 if is_large else gguf.GGUFValueType.get_type(first)
    writer.add_key_value(name, value, gguf.GGUFValueType.ARRAY if isinstance(value, list) else kind, kind)
    for tensor in read.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def settings_of(file: Path) -> list[str]:
    read = gguf.GGUFReader(file)
    architecture = read.fields["general.architecture"].contents()
    own = [name for name in read.fields if not name.startswith("GGUF.") and name != "general.architecture"]
    return [*own, *(f"{architecture}.{name}" for name in ALSO)]


@pytest.mark.parametrize("family", ["gemma3", "qwen3_vl", "internvl"])
def test_a_setting_of_another_kind(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FAMILIES[family].make(tmp_path, 0)
    files = [write_decoder(tmp_path, tmp_path / "tiny.gguf"), write_vision(tmp_path, tmp_path / "mmproj.gguf")]
    tries = [(part, name, value) for part in (0, 1) for name in settings_of(files[part]) for value in ODD]
    refused: list[str] = []
    for number, (part, name, value) in enumerate(random.Random(38).sample(tries, 40)):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / str(number)))
        odd = list(files)
        odd[part] = changed(files[part], tmp_path / f"odd-{number}.gguf", name, value)
        try:
            folder = folder_of(*odd)
            load_tokenizer(folder)
            load_processor(folder)
            load_model(folder, torch.device("cpu"), torch.float32, policy=policy_of("published"))
        except CheckpointError as error:
            refused.append(str(error).replace(str(tmp_path), ""))
    assert len(refused) > 10
    assert not [said for said in refused if "\n" in said or len(said) > 400]

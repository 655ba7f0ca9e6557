"""What Gemma 4's decoder keeps in memory, and what it refuses. (That its numbers are right is tested in parity/.)"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file

from foveal.errors import CheckpointError
from foveal.models.registry import load_model
from tests.parity.families import FAMILIES
from tests.parity.text import text_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.layers.linear.published import Unpacking
    from foveal.models.gemma4.decoder import Gemma4Decoder

CPU, TABLE = torch.device("cpu"), "model.embed_tokens_per_layer.weight"


def decoder_of(folder: Path) -> Gemma4Decoder:
    return cast("Gemma4Decoder", load_model(folder, CPU, torch.float32).decoder)


def test_the_table_of_the_layers_inputs_stays_in_the_file_as_wide_as_it_is_there(tmp_path: Path) -> None:
    """It is half of the smallest model. In float32 it would take 9 GB of memory."""
    text_checkpoint("gemma4_text with inputs of layers", tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(file).items()}
    save_file(tensors, file)
    ids = torch.tensor([5, 0, 299, 5])

    inputs = decoder_of(tmp_path).own_inputs

    assert inputs is not None
    packed: Any = cast("Unpacking", inputs.table).packed
    assert packed.stored.nbytes == tensors[TABLE].nbytes
    assert torch.equal(inputs.table.rows(ids), tensors[TABLE][ids].float())


def test_layers_that_share_keys_take_no_room_in_the_cache(tmp_path: Path) -> None:
    """Three of six: one sliding with two heads of 16, and of the full ones two with two heads of 24."""
    decoder = text_checkpoint("gemma4_text with shared keys", tmp_path).ours.decoder
    shape = decoder.kv_shape

    assert shape.num_layers * shape.num_kv_heads * shape.head_dim == 2 * (2 * 16) + 1 * (2 * 24)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_kv_shared_layers": 6}, "all layers share their keys"),
        ({"num_kv_shared_layers": 5}, "layer 1 shares keys of full_attention, which no layer before it has"),
        ({"layer_types": ["linear_attention"] * 6}, "layer_types must be 6, each"),
        ({"sliding_window": None}, "sliding_window is null"),
        ({"vocab_size": 3000}, r"asks for \[3000"),
    ],
)
def test_settings_of_layers_that_cannot_be(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    text_checkpoint("gemma4_text with inputs of layers", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | settings))

    with pytest.raises(CheckpointError, match=message):
        decoder_of(tmp_path)


@pytest.mark.parametrize(
    ("family", "table"),
    [
        ("gemma4", "model.vision_tower.patch_embedder.position_embedding_table"),
        ("gemma4_unified", "model.vision_embedder.pos_embedding"),
    ],
)
def test_a_table_that_the_longest_picture_goes_beyond_is_refused(tmp_path: Path, family: str, table: str) -> None:
    FAMILIES[family].make(tmp_path, 0)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors[table] = tensors[table][:100].clone() if family == "gemma4_unified" else tensors[table][:, :100].clone()
    save_file(tensors, file)

    with pytest.raises(CheckpointError, match="pictures have up to"):
        load_model(tmp_path, CPU, torch.float32)

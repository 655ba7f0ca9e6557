"""models/gguf/rope: frequencies and the attention factor of a file are those that transformers computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from foveal.errors import CheckpointError
from foveal.layers.rope import Rope
from foveal.models.gguf.reader import GgufFile
from foveal.models.gguf.settings import decoder_settings
from tests.models.gguf.convert import write_decoder
from tests.parity.references import TEXT, reference, save_tokenizer

YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 512}
HEAD_DIM = 32


def read(path: Path) -> Rope:
    return Rope.read(decoder_settings(GgufFile.read(path)), HEAD_DIM)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"factor": 1.0},
        {"beta_fast": 12.0, "beta_slow": 2.0},
        {"attention_factor": 1.4},
        {"mscale": 1.0, "mscale_all_dim": 1.0},
        {"mscale": 1.0, "mscale_all_dim": 0.5, "beta_fast": 8.0},
        {"rope_type": "linear"},
        {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    ],
    ids=str,
)
def test_a_checkpoint_in_a_file_turns_as_in_transformers(other: dict[str, Any], tmp_path: Path) -> None:
    config = LlamaConfig(**TEXT, head_dim=HEAD_DIM, rope_parameters={**YARN, **other})
    reference(tmp_path, LlamaForCausalLM, config)
    save_tokenizer(tmp_path, ())

    ours, theirs = read(write_decoder(tmp_path, tmp_path / "tiny.gguf")), LlamaRotaryEmbedding(config)

    torch.testing.assert_close(ours.frequencies_VD[0], theirs.inv_freq)
    assert ours.attention_factor == pytest.approx(theirs.attention_scaling)


# --- files of settings alone ------------------------------------------------------------------------------------------


def write(path: Path, scaling: dict[str, Any], **factors: list[float]) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(HEAD_DIM * 4)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-6)
    for name, value in scaling.items():
        if isinstance(value, str):
            writer.add_string(f"llama.rope.{name}", value)
        elif isinstance(value, list):
            writer.add_array(f"llama.rope.{name}", value)
        elif isinstance(value, int):
            writer.add_uint32(f"llama.rope.{name}", value)
        else:
            writer.add_float32(f"llama.rope.{name}", value)
    writer.add_tensor("token_embd.weight", np.zeros((8, HEAD_DIM * 4), np.float32))
    for name, numbers in factors.items():
        writer.add_tensor(f"{name}.weight", np.array(numbers, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


PLAIN = 1e4 ** -(np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
TWO_TO_17 = [float(each) for each in range(2, 2 + HEAD_DIM // 2)]


@pytest.mark.parametrize(
    ("scaling", "divisor"),
    [
        ({}, 1.0),
        ({"scaling.type": "none", "scaling.factor": 8.0}, 1.0),
        ({"scaling.type": "linear", "scaling.factor": 0.0}, 1.0),
        ({"scaling.factor": 8.0}, 8.0),  # linear is what llama.cpp takes where the type is missing
        ({"scale_linear": 8.0}, 8.0),  # the name of older files
    ],
    ids=str,
)
def test_a_scale_divides_all_frequencies(scaling: dict[str, Any], divisor: float, tmp_path: Path) -> None:
    rope = read(write(tmp_path / "tiny.gguf", scaling))

    assert rope.frequencies_VD[0].numpy() == pytest.approx(PLAIN / divisor, rel=1e-5)
    assert rope.attention_factor == 1


def test_fewer_channels_than_a_head_has_may_turn(tmp_path: Path) -> None:
    rope = read(write(tmp_path / "tiny.gguf", {"dimension_count": HEAD_DIM // 2}))

    assert rope.frequencies_VD[0].numpy() == pytest.approx(PLAIN[::2], rel=1e-5)


def test_positions_in_three_rows_are_scaled_too(tmp_path: Path) -> None:
    scaling = {"scaling.type": "yarn", "scaling.factor": 4.0}
    plain = read(write(tmp_path / "plain.gguf", scaling))

    rope = read(write(tmp_path / "rows.gguf", {**scaling, "dimension_sections": [8, 4, 4, 0]}))

    assert torch.equal(rope.frequencies_VD, plain.frequencies_VD)
    assert rope.axes_D.tolist() == [0] * 8 + [1] * 4 + [2] * 4


def test_short_and_long_factors_are_for_short_and_long_sequences(tmp_path: Path) -> None:
    scaling = {"scaling.type": "longrope", "scaling.original_context_length": 256, "scaling.attn_factor": 1.25}
    ones = [1.0] * (HEAD_DIM // 2)

    rope = read(write(tmp_path / "tiny.gguf", scaling, rope_factors_short=ones, rope_factors_long=TWO_TO_17))

    assert rope.frequencies_VD.numpy() == pytest.approx(np.stack([PLAIN, PLAIN / TWO_TO_17]), rel=1e-5)
    assert (rope.attention_factor, rope.original_context_length) == (1.25, 256)


@pytest.mark.parametrize(
    ("scaling", "factors", "message"),
    [
        ({"scaling.type": "longrope"}, {}, "rope scaling of the type 'longrope' with the attention factor 1, which"),
        ({"scaling.type": "ntk"}, {}, "rope scaling of the type 'ntk'"),
        ({"scaling.attn_factor": 2.0}, {}, "of the type 'linear' with the attention factor 2"),
        ({"scaling.factor": 2.0}, {"rope_freqs": TWO_TO_17}, "'linear' with the attention factor 1 and rope_freqs"),
        ({"scaling.type": "yarn"}, {"rope_freqs": TWO_TO_17}, "'yarn' with the attention factor 1 and rope_freqs"),
        ({"scaling.type": "yarn", "scaling.attn_factor": 1.5}, {}, "'yarn' with the attention factor 1.5, which"),
        ({"scaling.type": "yarn", "scaling.yarn_ext_factor": 0.5}, {}, "a yarn_ext_factor that is not 1"),
        ({"scaling.factor": "four"}, {}, "rope.scaling.factor is 'four'; it must be a number"),
        ({"scaling.factor": float("nan")}, {}, "rope.scaling.factor is nan; it must be a number"),
        ({"dimension_sections": 3}, {}, "rope.dimension_sections is 3; it must be a list of at most 4"),
    ],
)
def test_what_is_not_implemented_is_refused(
    scaling: dict[str, Any], factors: dict[str, list[float]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read(write(tmp_path / "tiny.gguf", scaling, **factors))

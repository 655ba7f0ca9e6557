"""Which settings of a decoder follow from its type. (That the numbers are right is tested in parity/.)"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from foveal.errors import CheckpointError
from foveal.models.checkpoint import Checkpoint
from foveal.models.decoders import decoder_config

if TYPE_CHECKING:
    from pathlib import Path


def checkpoint(folder: Path, **config: object) -> Checkpoint:
    (folder / "config.json").write_text(json.dumps(config))
    return Checkpoint.read(folder)


def test_what_llava_leaves_out_of_its_decoder_is_that_of_llama_7b(tmp_path: Path) -> None:
    text = {"model_type": "llama", "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "vocab_size": 32064}

    config = decoder_config(checkpoint(tmp_path, model_type="llava", text_config=text))

    assert (config.num_layers, config.heads.num_heads, config.heads.head_dim) == (32, 32, 128)
    assert (config.max_model_len, config.vocab_size, config.ties_embeddings) == (4096, 32064, False)


def test_capped_logits_are_those_of_text_models(tmp_path: Path) -> None:
    text = {"model_type": "gemma3_text", "num_hidden_layers": 2, "hidden_size": 64, "final_logit_softcapping": 30.0}

    assert decoder_config(checkpoint(tmp_path, **text)).logit_cap == 30.0
    for family in ("gemma3", "llava"):
        with pytest.raises(CheckpointError, match=r"final_logit_softcapping is 30\.0; with images"):
            decoder_config(checkpoint(tmp_path, model_type=family, text_config=text))


def test_what_gemma3_leaves_out_of_its_decoder_is_that_of_its_type(tmp_path: Path) -> None:
    scaling = {"factor": 8.0, "rope_type": "linear"}
    text = {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}

    settings = checkpoint(tmp_path, model_type="gemma3", text_config={**text, "rope_scaling": scaling})
    config = decoder_config(settings)

    assert (config.heads.num_heads, config.heads.num_kv_heads, config.heads.head_dim) == (8, 4, 256)
    assert config.ties_embeddings
    assert config.sliding_layers[:6] == (True, True, True, True, True, False)
    assert config.rope.frequencies_VD[0, 0] == 1 / 8
    assert config.sliding_rope.frequencies_VD[0, 0] == 1
    assert (settings.context_length, settings.vocab_size) == (131072, 262208)


@pytest.mark.parametrize("place", ["config", "text_config"])
def test_tied_embeddings_are_said_at_either_place(tmp_path: Path, place: str) -> None:
    text: dict[str, object] = {"model_type": "llama"}
    ties = {"tie_word_embeddings": True}

    config = checkpoint(
        tmp_path,
        model_type="llava",
        text_config=text | (ties if place == "text_config" else {}),
        **({} if place == "text_config" else ties),
    )

    assert decoder_config(config).ties_embeddings

"""Every setting that the reference library writes, toggled: it changes what is read, is refused, or is harmless."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from foveal.errors import CheckpointError
from foveal.models.implemented import reference
from tests.parity.configs import MODELS, complete, meaning, places
from tests.parity.reference_facts import FILE, facts, written

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE: tuple[Any, ...] = (None, [], {}, "x", -1, 0, True, 1e300, 10**30, [None], [["x"]], {"a": [1]})


@pytest.mark.parametrize("model_type", MODELS)
def test_no_value_of_a_setting_is_more_than_an_error(tmp_path: Path, model_type: str) -> None:
    files = complete(model_type)
    meaning(tmp_path, files)

    for i, (place, _) in enumerate(places(files)):
        for value in HOSTILE[i % 6 :: 6]:  # two of them each, so that it takes seconds
            with suppress(CheckpointError):
                meaning(tmp_path, place.changed(files, value))


HARMLESS = {
    # of the library, or of training
    *("transformers_version", "architectures", "output_hidden_states", "output_attentions", "return_dict", "use_cache"),
    *("chunk_size_feed_forward", "is_encoder_decoder", "problem_type", "_name_or_path", "_sliding_window_pattern"),
    *("initializer_range", "initializer_factor", "pretraining_tp", "use_mask_token", "dropout", "attention_dropout"),
    *("resid_pdrop", "embd_pdrop", "hidden_dropout_prob", "projection_dropout", "layer_scale_init_value"),
    *("output_router_logits", "router_aux_loss_coef"),
    # what the tensors show
    *("hidden_size", "intermediate_size", "embed_dim", "mlp_ratio", "out_hidden_size", "vision_output_dim"),
    *("num_position_embeddings", "attention_bias", "mlp_bias", "multimodal_projector_bias", "norm_type", "use_qk_norm"),
    *("use_mean_pooling", "vision_use_head", "projection_dim", "num_experts", "moe_intermediate_size"),
    *("shared_expert_intermediate_size", "position_embedding_size", "mm_embed_dim", "mm_posemb_size"),
    *("output_proj_dims", "use_double_wide_mlp", "vocab_size_per_layer_input"),
    # sounds
    *("audio_config", "boa_token_id", "eoa_token_index"),
    # windows, where the defaults have none
    *("use_sliding_window", "max_window_layers", "layer_types"),
    # what the conversation or the tokenizer decides, and videos
    *("pad_token_id", "_pad_token_id", "bos_token_id", "image_seq_length", "tokens_per_second", "video_token_id"),
    *("vision_start_token_id", "vision_end_token_id"),
    # pictures here are RGB; padding is that of a batch; the reference's processor sets crop_to_patches itself
    *("do_convert_rgb", "image_processor_type", "do_pad", "crop_to_patches"),
    # what is said twice
    *("image_grid_pinpoints", "tie_word_embeddings", "vocab_size"),
}


def toggled(value: Any) -> Any:
    """Another value of the same kind, within bounds."""
    match value:
        case bool():
            return not value
        case int():
            return value + 2
        case float():
            return value / 2
        case str():
            return value + "x"
        case list():
            return value[:-1] or [1]
        case _:
            return True


@pytest.mark.parametrize("model_type", MODELS)
def test_a_setting_that_changes_nothing_is_one_that_changes_no_numbers(tmp_path: Path, model_type: str) -> None:
    files = complete(model_type)
    before = meaning(tmp_path, files)
    without_effect = set()

    for place, value in places(files):
        if not isinstance(value, dict) and not {"id2label", "label2id"} & set(place.path):
            with suppress(CheckpointError):
                if meaning(tmp_path, place.changed(files, toggled(value))) == before:
                    without_effect.add(place.path[-1])

    assert without_effect <= HARMLESS


def test_the_table_of_the_reference_s_settings_is_the_reference_s() -> None:
    assert FILE.read_text() == written(facts())


@pytest.mark.parametrize("model_type", MODELS)
def test_what_the_reference_does_not_read_is_no_reason_to_refuse(tmp_path: Path, model_type: str) -> None:
    files = complete(model_type)
    before = meaning(tmp_path, files)
    parts = [files["config"].get(name) for name in ("text_config", "vision_config")]
    for part in (*files.values(), *parts):
        if part is not None:
            part |= {"_note": "x", "my_scale": 3.5, "unsloth_fixed": True, "attn_flavour": "x", "auto_map": {"a": "b"}}

    assert meaning(tmp_path, files) == before


def test_what_a_later_reference_reads_is_refused_until_it_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = {**reference(), "llama": reference()["llama"] | {"novel_scale": 1.0}}
    monkeypatch.setattr("foveal.models.implemented.reference", lambda: later)
    files = complete("llama")

    files["config"]["novel_scale"] = 1.0
    assert meaning(tmp_path, files)

    files["config"]["novel_scale"] = 2.0
    with pytest.raises(CheckpointError, match=r"novel_scale is 2\.0; only 1\.0 is implemented"):
        meaning(tmp_path, files)


def test_another_family_s_picture_processor_is_refused(tmp_path: Path) -> None:
    files = complete("gemma3")
    files["preprocessor_config"]["image_processor_type"] = "SiglipImageProcessor"

    with pytest.raises(CheckpointError, match="only Gemma3ImageProcessor is implemented"):
        meaning(tmp_path, files)


GRANITE = {
    "attention_multiplier": 0.0078125,
    "embedding_multiplier": 12.0,
    "residual_multiplier": 0.22,
    "logits_scaling": 8.0,
}
OF_OTHERS = {**GRANITE, "final_logit_softcapping": 30.0, "num_local_experts": 8, "clip_qkv": 8.0, "qk_layernorm": True}


@pytest.mark.parametrize("name", OF_OTHERS)
@pytest.mark.parametrize("model_type", ["llama", "llava", "qwen2_vl"])
def test_what_other_decoders_compute_is_refused_by_name(tmp_path: Path, model_type: str, name: str) -> None:
    files = complete(model_type)
    files["config"].get("text_config", files["config"])[name] = OF_OTHERS[name]

    with pytest.raises(CheckpointError, match=rf"{name} is .* implemented"):
        meaning(tmp_path, files)


@pytest.mark.parametrize("decoder", ["olmo", "gemma", "gemma2", "cohere", "olmo2", "mixtral"])
@pytest.mark.parametrize("model_type", ["llava", "llava_next", "idefics3", "internvl"])
def test_a_decoder_that_is_not_implemented_is_refused(tmp_path: Path, model_type: str, decoder: str) -> None:
    files = complete(model_type)
    files["config"]["text_config"] = complete(decoder)["config"]

    with pytest.raises(CheckpointError, match=rf"text_config in .*: model_type is '{decoder}'; .*llama, mistral"):
        meaning(tmp_path, files)


@pytest.mark.parametrize("decoder", ["gemma3_text", "granite", "llama", "mistral", "phi3", "qwen2", "qwen3"])
def test_every_decoder_that_is_implemented_is_taken(tmp_path: Path, decoder: str) -> None:
    files = complete("llava")
    files["config"]["text_config"] = complete(decoder)["config"]

    assert meaning(tmp_path, files)


@pytest.mark.parametrize("tower", ["pixtral", "siglip2_vision_model"])
def test_a_tower_that_is_not_implemented_is_refused(tmp_path: Path, tower: str) -> None:
    files = complete("llava")
    files["config"]["vision_config"]["model_type"] = tower

    with pytest.raises(CheckpointError, match=rf"vision_config in .*: model_type is '{tower}'"):
        meaning(tmp_path, files)


@pytest.mark.parametrize(
    ("model_type", "name", "value"),
    [
        ("gemma3", "do_pan_and_scan", True),
        ("gemma3", "size", {"height": 224, "width": 448}),
        ("idefics3", "do_resize", False),
        ("internvl", "do_normalize", False),
        ("llava", "do_pad", True),
        ("llava", "do_center_crop", False),
        ("llava", "crop_size", {"height": 112, "width": 112}),
        ("llava_next", "crop_size", {"height": 224, "width": 112}),
        ("mllama", "do_pad", False),
        ("mllama", "max_image_tiles", 2),
        ("qwen2_vl", "resample", 2),
        ("qwen3_vl", "rescale_factor", 1 / 127.5),
        ("smolvlm", "do_rescale", False),
    ],
)
def test_pictures_that_would_be_prepared_otherwise_are_refused(
    tmp_path: Path, model_type: str, name: str, value: Any
) -> None:
    files = complete(model_type)
    files["preprocessor_config"][name] = value

    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
        meaning(tmp_path, files)

"""What the golden data does not reach: settings of other checkpoints, mixed steps, bfloat16, refusals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from foveal.engine.runner import compute
from foveal.errors import CheckpointError
from foveal.layers.attention.backends import attention_backend
from foveal.layers.attention.batch import AttentionBatch
from foveal.layers.decoder import Decoder
from foveal.layers.pieces import finish
from foveal.models.family import CropRange, InputBatch, Model, SequenceSlice
from foveal.models.registry import load_model, load_processor
from foveal.types import ImageLayout, Prompt, Size
from tests.builders import PreparedPrompt, picture, prepared_prompt, tiny_phi3_v
from tests.parity.naive import BLOCK_SIZE, NaiveRun, naive_greedy

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.models.phi3_v.model import Phi3VImages

IMAGE_PROMPT = ([1, 70, 80], [90, 91, 92])


def loaded(folder: Path, dtype: torch.dtype = torch.float32, **overrides: Any) -> Model:
    return load_model(tiny_phi3_v(folder, **overrides), torch.device("cpu"), dtype)


def images_of(model: Model) -> Phi3VImages:
    return cast("Phi3VImages", model.images)


def prompt_with_picture(folder: Path) -> PreparedPrompt:
    return prepared_prompt(load_processor(folder), IMAGE_PROMPT, [picture(90, 60)])


def test_the_image_changes_the_answer(tmp_path: Path) -> None:
    model, processor = loaded(tmp_path), load_processor(tmp_path)

    answers = set()
    for seed in range(3):
        prepared = prepared_prompt(processor, IMAGE_PROMPT, [picture(90, 60, seed)])
        answers.add(tuple(naive_greedy(model, prepared.prompt, 8, prepared.pixels)))

    assert len(answers) == 3


@pytest.mark.parametrize(("max_total_tokens", "variant"), [(4, 0), (256, 0), (257, 1), (1024, 1)])
def test_the_rope_factors_are_chosen_by_the_length_a_sequence_may_reach(
    tmp_path: Path, max_total_tokens: int, variant: int
) -> None:
    positions = loaded(tmp_path).decoder.positions(Prompt((5, 6, 7)), max_total_tokens)

    assert positions.variant == variant
    assert (positions.prompt - positions.delta).tolist() == [[0, 1, 2]]


def test_the_rope_factors_change_the_answer(tmp_path: Path) -> None:
    model, prompt = loaded(tmp_path), Prompt(tuple(range(10, 40)))

    short, long = (NaiveRun(model, prompt, total).prefill() for total in (256, 257))

    assert not torch.allclose(short[-1], long[-1], atol=1e-2)


def test_a_checkpoint_without_rope_scaling_has_one_variant(tmp_path: Path) -> None:
    decoder = loaded(tmp_path, rope_scaling=None).decoder

    assert isinstance(decoder, Decoder)
    assert decoder.positions(Prompt((5, 6, 7)), 1024).variant == 0
    assert decoder.config.rope.attention_factor == 1.0


def test_sequences_of_both_variants_run_in_one_step(tmp_path: Path) -> None:
    model = loaded(tmp_path)
    prompts = [Prompt(tuple(range(10, 30))), Prompt(tuple(range(40, 53)))]
    alone = [NaiveRun(model, prompt, total) for prompt, total in zip(prompts, (30, 300), strict=True)]
    expected = torch.cat([run.prefill() for run in alone])

    num_rows = [len(prompt.token_ids) for prompt in prompts]
    starts = [0, num_rows[0], sum(num_rows)]
    tables = [[0, 2], [1]]
    slots = [tables[i][t // BLOCK_SIZE] * BLOCK_SIZE + t % BLOCK_SIZE for i in (0, 1) for t in range(num_rows[i])]
    batch = InputBatch(
        token_ids_T=torch.tensor([token for prompt in prompts for token in prompt.token_ids]),
        positions_RT=torch.cat([torch.from_numpy(run.positions.prompt) for run in alone], dim=1),
        slices=tuple(SequenceSlice(starts[i], num_rows[i], 0, ()) for i in (0, 1)),
        attention=AttentionBatch(starts, num_rows, tables, slots, BLOCK_SIZE),
    )
    attention = attention_backend(torch.device("cpu"), torch.float32)
    hidden = compute(model, batch, attention, torch.zeros(2, 2, 3, BLOCK_SIZE, 2, 8))

    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=0)


def test_crops_of_several_images_are_encoded_together(tmp_path: Path) -> None:
    images, processor = images_of(loaded(tmp_path)), load_processor(tmp_path)
    prepared = prepared_prompt(processor, [[1], [2], [3]], [picture(90, 60), picture(20, 70, seed=1)])
    layouts = [image.image.layout for image in prepared.prompt.images]
    pixels = [torch.from_numpy(array) for array in prepared.pixels]
    ranges = [CropRange(pixels[0], layouts[0], 1, 3), CropRange(pixels[1], layouts[1], 0, layouts[1].num_crops)]

    together = finish(images.encode_crops(ranges))

    assert [len(crops) for crops in together] == [2, layouts[1].num_crops]
    for crops, item in zip(together, ranges, strict=True):
        torch.testing.assert_close(crops, finish(images.encode_crops([item]))[0], atol=1e-5, rtol=0)


def test_features_are_a_row_for_each_token_of_the_image(tmp_path: Path) -> None:
    model, prepared = loaded(tmp_path), prompt_with_picture(tmp_path)

    [image] = NaiveRun(model, prepared.prompt, 100, prepared.pixels).images

    assert image.features is not None
    assert image.features.shape == (prepared.prompt.num_image_tokens, 32)


def test_the_whole_of_one_crop_is_that_crop(tmp_path: Path) -> None:
    images = images_of(loaded(tmp_path))
    pixels = torch.from_numpy(np.array(picture(28, 28)))
    one_crop = ImageLayout(Size(28, 28), (28, 28, 3), (1, 1), num_crops=2, num_tokens=5)

    whole, crop = images.crops(CropRange(pixels, one_crop, 0, 2))

    assert torch.equal(whole, crop)


def test_bfloat16_stays_near_float32(tmp_path: Path) -> None:
    exact, near = loaded(tmp_path), loaded(tmp_path, torch.bfloat16)
    prepared = prompt_with_picture(tmp_path)
    total = len(prepared.prompt.token_ids)

    expected = exact.decoder.logits(NaiveRun(exact, prepared.prompt, total, prepared.pixels).prefill())
    logits = near.decoder.logits(NaiveRun(near, prepared.prompt, total, prepared.pixels, torch.bfloat16).prefill())

    assert logits.dtype == torch.float32
    assert (logits - expected).abs().mean() < 0.05 * expected.abs().mean()


def test_the_tower_runs_up_to_the_hidden_state_that_is_asked_for(tmp_path: Path) -> None:
    settings = json.loads((tiny_phi3_v(tmp_path) / "config.json").read_text())["img_processor"]
    choices = [{}, {"layer_idx": -1}, {"layer_idx": -2}, {"layer_idx": 1}]

    models = [loaded(tmp_path, img_processor=settings | choice) for choice in choices]

    assert [len(images_of(model).tower.layers) for model in models] == [2, 3, 2, 1]


def test_tied_embeddings_need_no_head(tmp_path: Path) -> None:
    folder = tiny_phi3_v(tmp_path, tie_word_embeddings=True)
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors")

    model = load_model(folder, torch.device("cpu"), torch.float32)

    torch.testing.assert_close(model.decoder.logits(torch.eye(32)), tensors["model.embed_tokens.weight"].T)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"rope_scaling": {"type": "yarn"}}, "type is 'yarn'; only None or 'default' or 'longrope' or 'su'"),
        ({"embd_layer": {"hd_transform_order": "glb_sub"}}, "hd_transform_order 'glb_sub'; only sub_glb"),
    ],
)
def test_settings_that_are_not_implemented_are_refused_by_name(
    tmp_path: Path, overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        loaded(tmp_path, **overrides)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    folder = tiny_phi3_v(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.down_proj.weight"]
    save_file(tensors, folder / "model.safetensors")

    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.mlp\.down_proj\.weight"):
        load_model(folder, torch.device("cpu"), torch.float32)

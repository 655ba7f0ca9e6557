"""The CLIP tower against the reference implementation, on random weights."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from foveal.errors import CheckpointError
from foveal.layers.linear.load import Weights
from foveal.layers.pieces import finish
from foveal.layers.vision import ClipTower, VisionConfig, patch_rows

SETTINGS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 42,
    "patch_size": 14,
}


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize(("num_layers", "image_size"), [(0, 42), (2, 42), (3, 42), (3, 50)])
def test_the_tower_gives_the_reference_hidden_states(activation: str, num_layers: int, image_size: int) -> None:
    torch.manual_seed(0)
    settings = {**SETTINGS, "hidden_act": activation, "image_size": image_size}
    reference = CLIPVisionModel(CLIPVisionConfig(**settings, attn_implementation="eager")).eval()
    pixels = torch.randn(2, 3, image_size, image_size)
    tensors = {name.removeprefix("vision_model."): tensor for name, tensor in reference.state_dict().items()}
    weights = Weights({f"v.{name}": t for name, t in tensors.items()})
    tower = ClipTower.load(weights, "v", VisionConfig.read(settings), num_layers)

    with torch.inference_mode():
        states = finish(tower(pixels))
        expected = reference(pixels, output_hidden_states=True).hidden_states[num_layers]

    torch.testing.assert_close(states, expected, atol=1e-5, rtol=0)


def test_patches_are_rows_of_their_pixels() -> None:
    pixels = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)

    rows = patch_rows(pixels, 2)

    assert rows.shape == (2, 4, 12)
    assert rows[1, 2].tolist() == pixels[1, :, 2:4, 0:2].flatten().tolist()


def test_sizes_left_out_are_those_of_clip_vit_l_14_336() -> None:
    config = VisionConfig.read({"num_hidden_layers": 5, "model_type": "clip_vision_model"})

    assert config == VisionConfig(1024, 4096, 5, 16, 336, 14, "quick_gelu", 1e-5)


def test_an_unknown_activation_is_refused_by_name() -> None:
    with pytest.raises(CheckpointError, match="'swish'"):
        VisionConfig.read({"hidden_act": "swish"})

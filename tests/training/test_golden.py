"""The training model and its preprocessing against the published algorithm's answers (tests/data/golden/phi3_v)."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from training import model as training_model
from training.model import ModelConfig, Phi3V
from training.preprocess import crops, normalise, padded

GOLDEN = Path(__file__).parents[1] / "data/golden/phi3_v"
CASES: dict[str, Any] = json.loads((GOLDEN / "cases.json").read_text())
PICTURE_CASES = [name for name, case in CASES.items() if case["images"]]
IMAGE = 0  # stands for a picture's positions


def pixels_of(file: str) -> Tensor:
    array = padded(Image.open(GOLDEN / file).convert("RGB"), 336, num_crops=4)
    return crops(normalise(torch.from_numpy(array.copy())), 336)


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    return load_file(GOLDEN / "expected.safetensors")


@pytest.fixture
def golden_model(monkeypatch: pytest.MonkeyPatch) -> Phi3V:
    """The golden checkpoint takes the tower's layer before the last, and its rotary frequencies are scaled."""
    raw = json.loads((GOLDEN / "config.json").read_text())
    factors = torch.tensor(raw["rope_scaling"]["short_factor"])
    stretch = raw["max_position_embeddings"] / raw["original_max_position_embeddings"]
    attention_factor = math.sqrt(1 + math.log(stretch) / math.log(raw["original_max_position_embeddings"]))

    def scaled_rotary(positions: int, dim: int, theta: float) -> tuple[Tensor, Tensor]:
        frequencies = 1 / (factors * theta ** (torch.arange(0, dim, 2) / dim))
        angles = torch.outer(torch.arange(positions), frequencies).repeat(1, 2)
        return angles.cos() * attention_factor, angles.sin() * attention_factor

    monkeypatch.setattr(training_model, "rotary", scaled_rotary)
    model = Phi3V(ModelConfig(336, 32, 2, 2, 64, 64, 3, 4, 96, 160, num_crops=4))
    result = model.load_state_dict(load_file(GOLDEN / "model.safetensors"), strict=False)
    assert not result.missing_keys
    assert all("encoder.layers.2." in name for name in result.unexpected_keys)
    return model.eval()


@pytest.mark.parametrize("name", PICTURE_CASES)
def test_pixels_are_the_published_ones(name: str, expected: dict[str, Tensor]) -> None:
    for number, file in enumerate(CASES[name]["images"]):
        got = pixels_of(file)[:, :, ::8, ::8]
        torch.testing.assert_close(got, expected[f"{name}.pixels{number}_every_8th"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["one_wide", "one_tall", "two_images"])
def test_logits_are_the_published_ones(name: str, expected: dict[str, Tensor], golden_model: Phi3V) -> None:
    case = CASES[name]
    token_ids: list[int] = list(case["segments"][0])
    for count, segment in zip(case["num_img_tokens"], case["segments"][1:], strict=True):
        token_ids += [IMAGE] * count + segment
    ids = torch.tensor(token_ids)
    grids = [(height // 336, width // 336) for height, width in case["image_sizes_hw"]]
    with torch.no_grad():
        pixels = torch.cat([pixels_of(file) for file in case["images"]])
        projected = golden_model.project(golden_model.encode(pixels))
        no_branches, positions = torch.zeros_like(ids), torch.arange(len(ids))
        *_, hidden = golden_model.decode(ids, [len(ids)], no_branches, positions, ids == IMAGE, projected, grids)
        logits = golden_model.lm_head(hidden[-1])
    assert len(ids) == case["prompt_tokens"]
    torch.testing.assert_close(logits, expected[f"{name}.last_logits"], atol=1e-3, rtol=0)

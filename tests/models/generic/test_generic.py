"""What the generic family refuses, and what its parts promise one another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from foveal.errors import CheckpointError
from foveal.layers.step import Positions
from foveal.models.checkpoint import Checkpoint
from foveal.models.family import InvalidImageSize
from foveal.models.generic import model as generic_model
from foveal.models.generic import types
from foveal.models.generic.facts import decode, encode, facts_of, pixels_of
from foveal.models.registry import family_of, load_model, load_processor
from foveal.types import ImageSpan, Size
from tests.parity.generic.kinds import make
from tests.parity.generic.table import DOCUMENT, with_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("aya")
    make("aya_vision", path)
    return path


def written(folder: Path, **settings: Any) -> Checkpoint:
    (folder / "config.json").write_text(json.dumps(settings), "utf-8")
    return Checkpoint.read(folder)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"model_type": "lfm2_vl"}, "cannot be served: layers of its decoder keep a state of their own"),
        ({"model_type": "florence2"}, "it is an encoder and a decoder"),
        ({"model_type": "new"}, "'new'; supported: .*aya_vision.*phi3_v"),
        ({"model_type": "new", "auto_map": {"AutoModel": "x.Y"}}, "code in a checkpoint is never run; supported: "),
        ({"model_type": "aya_vision", "quantization_config": {"quant_method": "awq"}}, "holds quantised weights"),
    ],
)
def test_what_cannot_be_served_is_refused_by_a_sentence(tmp_path: Path, settings: Any, sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        family_of(written(tmp_path, **settings))


def test_without_transformers_the_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(types, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"pip install 'foveal\[transformers\]'"):
        family_of(written(tmp_path, model_type="aya_vision"))


def test_the_table_in_the_documentation_is_of_this_code() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert with_table(text) == text


def test_facts_and_pixels_are_the_arrays_again() -> None:
    arrays = {
        "pixel_values": np.arange(12, dtype=np.float32).reshape(1, 3, 4),
        "image_sizes": np.array([[3, 4]]),
        "mask": np.array([[True, False]]),
        "a": np.full((2, 2), 0.5),
    }
    facts = decode(encode(facts_of(arrays, (1, 7, 7, 2, 7), (7,))))

    assert facts.spans == (ImageSpan(1, 2), ImageSpan(4, 1))
    pixels = pixels_of(arrays)
    assert pixels.nbytes == facts.num_bytes
    for name, array in facts.with_pixels(pixels).items():
        np.testing.assert_array_equal(array, arrays[name])
    assert sorted(facts.known()) == ["image_sizes", "mask"]


def test_a_picture_has_the_facts_of_its_size(folder: Path) -> None:
    processor: Any = load_processor(folder)
    layout = processor.layout(Size(50, 70), "auto")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 50, 3), np.uint8))

    assert processor.prepare(picture, layout).shape == layout.pixel_shape
    with pytest.raises(InvalidImageSize, match="than of others of its size"):
        processor.prepare(picture.resize((32, 32)), layout)


def test_the_process_that_counts_is_started_again_when_it_has_ended(folder: Path) -> None:
    processor: Any = load_processor(folder)
    layout = processor.layout(Size(50, 70), "auto")
    processor.sizes._child.kill()
    processor.sizes._child.wait()

    assert processor.layout(Size(70, 50), "auto").num_tokens == layout.num_tokens


def test_features_that_get_lost_are_noticed_at_the_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = generic_model.TransformersImages.features
    monkeypatch.setattr(generic_model.TransformersImages, "features", lambda *given: torch.zeros_like(whole(*given)))

    with pytest.raises(CheckpointError, match=r"the check of a picture failed: logits differ .* aya_vision cannot"):
        load_model(folder, torch.device("cpu"), torch.float32)


def test_positions_that_are_wrong_are_noticed_at_the_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = generic_model.TransformersDecoder.positions

    def doubled(*given: Any) -> Any:
        positions = count(*given)
        return Positions(positions.prompt * 2)

    monkeypatch.setattr(generic_model.TransformersDecoder, "positions", doubled)
    with pytest.raises(CheckpointError, match="the check of a text failed"):
        load_model(folder, torch.device("cpu"), torch.float32)


def test_weights_that_are_missing_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if "mlp" in name))
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})

    with pytest.raises(CheckpointError, match="missing"):
        load_model(tmp_path, torch.device("cpu"), torch.float32)

"""Decoders without images give the reference's logits and tokens, from settings in the newer layout and the older."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from foveal.models.registry import load_model, load_processor
from foveal.types import Prompt
from tests.parity.naive import NaiveRun, naive_greedy
from tests.parity.text import KINDS, LLAMA3_ROPE, LONG_ROPE, text_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from tests.parity.references import Reference


@pytest.fixture(scope="session", params=KINDS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return text_checkpoint(request.param, tmp_path_factory.mktemp("text"))


def prompt_of(num_tokens: int, seed: int = 0) -> list[int]:
    return torch.randint(3, 299, (num_tokens,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("chunk_size", [None, 11])
def test_the_logits_are_the_references(checkpoint: Reference, seed: int, chunk_size: int | None) -> None:
    token_ids = prompt_of(40, seed)
    with torch.inference_mode():
        expected = checkpoint.model(torch.tensor([token_ids])).logits[0]

    hidden = NaiveRun(checkpoint.ours, Prompt(tuple(token_ids)), 60).prefill(chunk_size)

    torch.testing.assert_close(checkpoint.ours.decoder.logits(hidden), expected, atol=1e-3, rtol=0)


def test_the_greedy_tokens_are_the_references(checkpoint: Reference) -> None:
    token_ids = prompt_of(20)
    expected = checkpoint.model.generate(
        torch.tensor([token_ids]), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
    )

    assert naive_greedy(checkpoint.ours, Prompt(tuple(token_ids)), 12) == expected[0, 20:].tolist()


def test_a_sequence_that_may_grow_long_takes_the_long_factors(tmp_path: Path) -> None:
    phi3 = text_checkpoint("phi3 long", tmp_path)
    token_ids = prompt_of(300)
    with torch.inference_mode():
        expected = phi3.model(torch.tensor([token_ids])).logits[0]

    hidden = NaiveRun(phi3.ours, Prompt(tuple(token_ids)), 310).prefill()

    torch.testing.assert_close(phi3.ours.decoder.logits(hidden), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("name", "older"),
    [
        ("llama", {"rope_theta": 5e4, "rope_scaling": LLAMA3_ROPE}),
        ("phi3 long", {"rope_theta": 1e4, "rope_scaling": LONG_ROPE | {"type": "longrope"}}),
        ("gemma3_text", {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": None}),
    ],
)
def test_settings_in_the_older_layout_mean_the_same(tmp_path: Path, name: str, older: dict[str, Any]) -> None:
    newer = text_checkpoint(name, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    del written["rope_parameters"]
    (tmp_path / "config.json").write_text(json.dumps(written | older))

    model = load_model(tmp_path, torch.device("cpu"), torch.float32)

    prompt = Prompt(tuple(prompt_of(30)))
    assert torch.equal(NaiveRun(model, prompt, 40).prefill(), NaiveRun(newer.ours, prompt, 40).prefill())


def test_a_text_model_has_no_processor(checkpoint: Reference) -> None:
    assert load_processor(checkpoint.folder) is None

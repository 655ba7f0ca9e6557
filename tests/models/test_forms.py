"""A second form of weight matrices: a few lines, an entry in the table and a policy, and a whole family runs in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest
import torch
from torch import Tensor

from foveal.layers.decoder import Decoder
from foveal.layers.linear.form import Form, Matrix, MatrixFacts
from foveal.layers.linear.load import FORMS
from foveal.layers.linear.plain import Plain
from foveal.models.registry import load_model, load_processor
from tests.builders import picture, prepared_prompt
from tests.parity.families import FAMILIES
from tests.parity.naive import NaiveRun

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.models.family import Model
    from foveal.models.gemma3.model import Gemma3Images


@dataclass(frozen=True)
class Wide:
    """All parts fused into one matrix of float64, as a quantising form would repack them."""

    weight: Tensor
    bias: Tensor
    dtype: torch.dtype

    @classmethod
    def of(cls, *matrices: Matrix) -> Wide:
        weight = torch.cat([matrix.weight for matrix in matrices])
        biases = [torch.zeros(len(m.weight)) if m.bias is None else m.bias for m in matrices]
        return cls(weight.double(), torch.cat(biases).double(), weight.dtype)

    @property
    def in_features(self) -> int:
        return self.weight.shape[1]

    @property
    def out_features(self) -> int:
        return self.weight.shape[0]

    def __call__(self, x: Tensor) -> Tensor:
        return (x.double() @ self.weight.T + self.bias).to(self.dtype)

    def rows(self, ids: Tensor) -> Tensor:
        return self.weight[ids].to(self.dtype)


def wide_decoder(facts: MatrixFacts) -> str:
    """The decoder and the projector; the tower stays plain."""
    return "plain" if "vision_tower" in facts.name else "wide"


def states(model: Model, folder: Path) -> Tensor:
    prepared = prepared_prompt(load_processor(folder), [[1, 70, 80], [90, 91, 92]], [picture(90, 60)])
    run = NaiveRun(model, prepared.prompt, len(prepared.prompt.token_ids) + 2, prepared.pixels)
    return torch.cat([run.prefill(), run.compute([5])])


def test_a_policy_puts_a_familys_matrices_into_another_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMS, "wide", Form(lambda matrices: Wide.of(*matrices), Wide.of))
    plain = FAMILIES["gemma3"].make(tmp_path, 0).ours  # tied embeddings, parts stored apart, a matrix stored transposed

    wide = load_model(tmp_path, torch.device("cpu"), torch.float32, policy=wide_decoder)

    decoder, images = cast("Decoder", wide.decoder), cast("Gemma3Images", wide.images)
    layer = decoder.layers[0]
    of_decoder = [*layer.linears, decoder.head]
    assert all(isinstance(linear, Wide) for linear in [*of_decoder, images.projector.linear])
    assert decoder.head is decoder.embedding
    assert isinstance(images.tower.patches, Plain)
    expected, hidden = states(plain, tmp_path), states(wide, tmp_path)
    torch.testing.assert_close(hidden, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(wide.decoder.logits(hidden), plain.decoder.logits(expected), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_runs_in_another_form(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMS, "wide", Form(lambda matrices: Wide.of(*matrices), Wide.of))
    plain = FAMILIES[name].make(tmp_path, 0).ours

    wide = load_model(tmp_path, torch.device("cpu"), torch.float32, policy=lambda facts: "wide")

    torch.testing.assert_close(states(wide, tmp_path), states(plain, tmp_path), atol=1e-4, rtol=0)

"""Types that transformers' modules serve give transformers' own tokens and logits: float32, CPU, small random weights.

The reference is loaded apart from ours, from the same files, and is given all pictures of a prompt at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from foveal.models.generic.pictures import Pictures
from foveal.models.generic.types import VERIFIED
from foveal.models.registry import load_model, load_processor
from tests.builders import prepared_prompt
from tests.parity.generic.kinds import NEED_TORCHVISION, make
from tests.parity.naive import NaiveRun
from tests.parity.test_engine import Asked, Question

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.models.family import Model, Processor
    from tests.builders import PreparedPrompt

QUICK = ("aya_vision",)  # the others run at night
SIZES: dict[str, list[tuple[int, int]]] = {
    "text": [],
    "one picture": [(90, 60)],
    "three pictures": [(50, 120), (33, 35), (90, 60)],
}
WORDS = ("Look: ", " and so on. ", " Again? ", " What?")
NUM_TOKENS = 6


@dataclass(frozen=True)
class Compared:
    """A prompt as both have it, and what the reference makes of it: the logits of all positions, and greedy tokens."""

    prepared: PreparedPrompt
    token_ids: list[int]
    logits: torch.Tensor
    greedy: list[int]


@dataclass(frozen=True)
class Subject:
    model: Model
    compared: dict[str, Compared]


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=() if kind in QUICK else pytest.mark.nightly) for kind in VERIFIED],
)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("generic")
    if request.param in NEED_TORCHVISION:
        pytest.importorskip("torchvision")
    make(request.param, folder)
    return subject_in(folder)


def subject_in(folder: Path) -> Subject:
    model = load_model(folder, torch.device("cpu"), torch.float32)
    auto: Any = transformers.AutoModelForImageTextToText
    reference = auto.from_pretrained(folder, attn_implementation="eager").eval()
    ours, theirs = load_processor(folder), Pictures.load(folder)
    return Subject(model, {name: compared(reference, ours, theirs, name) for name in SIZES})


@torch.inference_mode()
def compared(reference: Any, ours: Processor | None, theirs: Pictures, name: str) -> Compared:
    random = np.random.default_rng(len(name))
    shown = [Image.fromarray(random.integers(0, 256, (h, w, 3), np.uint8)) for w, h in SIZES[name]]
    words = WORDS[: len(shown) + 1]
    text = theirs.mark.join(words)
    inputs = theirs.processor(images=shown or None, text=[text], return_tensors="pt", add_special_tokens=False)
    segments = [theirs.processor.tokenizer(part, add_special_tokens=False)["input_ids"] for part in words]
    written = reference.generate(**inputs, max_new_tokens=NUM_TOKENS, do_sample=False, eos_token_id=-1, pad_token_id=0)
    return Compared(
        prepared_prompt(ours, segments, shown),
        inputs["input_ids"][0].tolist(),
        reference(**inputs).logits[0],
        written[0, inputs["input_ids"].shape[1] :].tolist(),
    )


def test_token_ids_are_the_processors(subject: Subject) -> None:
    for compared in subject.compared.values():
        assert list(compared.prepared.prompt.token_ids) == compared.token_ids


@pytest.mark.parametrize("chunk_size", [None, 7])
def test_logits_are_the_plain_forwards(subject: Subject, chunk_size: int | None) -> None:
    for compared in subject.compared.values():
        run = NaiveRun(subject.model, compared.prepared.prompt, len(compared.token_ids), compared.prepared.pixels)
        is_cut = chunk_size is not None and not subject.model.traits.whole_spans
        logits = subject.model.decoder.logits(run.prefill(chunk_size if is_cut else None))
        torch.testing.assert_close(logits, compared.logits, rtol=0, atol=1e-3)


@pytest.mark.parametrize("settings", [{}, {"max_num_batched_tokens": 64, "block_size": 5}], ids=["together", "chunked"])
def test_greedy_tokens_are_those_of_generate(
    subject: Subject, settings: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = [Question(compared.prepared, compared.greedy) for compared in subject.compared.values()]

    answers = Asked(subject.model, monkeypatch, **settings).token_ids(*questions, *questions)

    assert answers == [question.greedy for question in questions] * 2


def test_pictures_move_the_logits(subject: Subject) -> None:
    """Else nothing above would notice that features are lost."""
    compared = subject.compared["one picture"]
    other = tuple(255 - pixels for pixels in compared.prepared.pixels)
    run = NaiveRun(subject.model, compared.prepared.prompt, len(compared.token_ids), other)
    with torch.inference_mode():
        moved = subject.model.decoder.logits(run.prefill())
    assert (moved[-1] - compared.logits[-1]).abs().max() > 1e-2

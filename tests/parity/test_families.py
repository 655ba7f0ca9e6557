"""Families with images give what the reference library gives: token ids, pixels, logits, greedy tokens."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch

from foveal.conversation.config import load_conversation
from foveal.media.decode import decode
from foveal.models.family import CropRange
from foveal.models.registry import load_model, load_processor
from tests.builders import PreparedPrompt, picture, prepared_prompt
from tests.parity.families import FAMILIES, Family
from tests.parity.naive import NaiveRun, naive_greedy

if TYPE_CHECKING:
    from PIL.Image import Image

    from tests.parity.references import Reference

PIXEL_TOLERANCE, LOGIT_TOLERANCE = 1e-5, 1e-3
NUM_GREEDY = 8
SIZES = [
    (1, 1),
    (1, 40),
    (40, 1),
    (28, 28),
    (30, 90),
    (90, 60),
    (61, 59),
    (200, 30),
    (33, 333),
    (500, 375),
    (2000, 300),
]


@dataclass(frozen=True)
class Subject:
    """A family's checkpoint, in the reference's hands and in ours."""

    family: Family
    reference: Reference

    def asked_of_reference(self, texts: list[str], pictures: list[Image]) -> dict[str, Any]:
        """The reference processor's output for texts with pictures between."""
        text = "<s>" + self.family.image_token.join(texts)
        return dict(
            self.reference.processor(
                text=[text],
                images=pictures or None,
                add_special_tokens=False,
                return_tensors="pt",
                **self.family.arguments,
            )
        )

    def asked_of_ours(self, texts: list[str], pictures: list[Image]) -> PreparedPrompt:
        """The prompt as the renderer makes it: what the family's rules put around images, placeholders between."""
        encode = self.reference.processor.tokenizer.encode
        rules = load_conversation(self.reference.model.config.model_type).rules
        ends = [rules.before_image] * len(pictures) + [""]
        begins = ["<s>"] + [rules.after_image] * len(pictures)
        texts = [begin + text + end for begin, text, end in zip(begins, texts, ends, strict=True)]
        segments = [encode(text, add_special_tokens=False) for text in texts]
        return prepared_prompt(load_processor(self.reference.folder), segments, pictures)

    def tower_pixels(self, prepared: PreparedPrompt) -> torch.Tensor:
        """What our tower sees of the only image."""
        layout = prepared.prompt.images[0].image.layout
        whole = CropRange(torch.from_numpy(prepared.pixels[0]), layout, 0, layout.num_crops)
        return self.family.pixels(self.reference.ours.images, whole)


@pytest.fixture(scope="session", params=[(name, seed) for name in FAMILIES for seed in (0, 1)], ids=str)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    name, seed = request.param
    family = FAMILIES[name]
    return Subject(family, family.make(tmp_path_factory.mktemp(name), seed))


QUESTIONS = {
    "no image": (["hello there"], []),
    "an image": (["look: ", " what?"], [(90, 60)]),
    "image first": (["", "what is it"], [(30, 50)]),
    "three images": (["a", "b", "", "which?"], [(90, 60), (20, 70), (40, 40)]),
}


def question(name: str) -> tuple[list[str], list[Image]]:
    texts, sizes = QUESTIONS[name]
    return texts, [picture(*size, seed=i) for i, size in enumerate(sizes)]


@pytest.mark.parametrize("name", QUESTIONS)
def test_token_ids_logits_and_greedy_tokens_are_the_references(subject: Subject, name: str) -> None:
    asked = question(name)
    inputs, prepared = subject.asked_of_reference(*asked), subject.asked_of_ours(*asked)
    ours, token_ids = subject.reference.ours, list(prepared.prompt.token_ids)
    assert token_ids == inputs["input_ids"][0].tolist()

    with torch.inference_mode():
        expected = subject.reference.model(**inputs).logits[0]
    hidden = NaiveRun(ours, prepared.prompt, len(token_ids) + NUM_GREEDY, prepared.pixels).prefill()
    torch.testing.assert_close(ours.decoder.logits(hidden), expected, atol=LOGIT_TOLERANCE, rtol=0)

    generated = subject.reference.model.generate(
        **inputs, max_new_tokens=NUM_GREEDY, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    greedy = generated[0, len(token_ids) :].tolist()
    assert naive_greedy(ours, prepared.prompt, NUM_GREEDY, prepared.pixels) == greedy


def test_bfloat16_stays_near_float32(subject: Subject) -> None:
    prepared = subject.asked_of_ours(*question("three images"))
    exact = subject.reference.ours
    near = load_model(subject.reference.folder, torch.device("cpu"), torch.bfloat16)
    total = len(prepared.prompt.token_ids)

    expected = exact.decoder.logits(NaiveRun(exact, prepared.prompt, total, prepared.pixels).prefill())
    logits = near.decoder.logits(NaiveRun(near, prepared.prompt, total, prepared.pixels, torch.bfloat16).prefill())

    assert (logits - expected).abs().mean() < 0.1 * expected.abs().mean()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_token_ids_and_pixels_are_the_references(subject: Subject, size: tuple[int, int]) -> None:
    asked = ["a", "b"], [picture(*size)]
    inputs = subject.asked_of_reference(*asked)

    prepared = subject.asked_of_ours(*asked)

    pixels, expected = subject.tower_pixels(prepared), subject.family.reference_pixels(inputs)
    assert list(prepared.prompt.token_ids) == inputs["input_ids"][0].tolist()
    torch.testing.assert_close(pixels, expected, atol=PIXEL_TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("mode", "file_format"), [("1", "PNG"), ("L", "PNG"), ("P", "PNG"), ("RGB", "BMP"), ("CMYK", "TIFF")]
)
def test_a_file_of_any_mode_gives_the_references_pixels(subject: Subject, mode: str, file_format: str) -> None:
    """Modes with transparency or 16 bits are ours to show: on white, and in full range (tests/media)."""
    drawn, file = picture(50, 40).convert(mode), io.BytesIO()
    drawn.save(file, file_format)
    inputs = subject.asked_of_reference(["a", "b"], [drawn])

    prepared = subject.asked_of_ours(["a", "b"], [decode(file.getvalue(), max_pixels=10_000)])

    pixels, expected = subject.tower_pixels(prepared), subject.family.reference_pixels(inputs)
    torch.testing.assert_close(pixels, expected, atol=PIXEL_TOLERANCE, rtol=0)

"""Phi-3-vision gives what the published algorithm gives, however the prompt is cut into steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import torch

from foveal.layers.pieces import finish
from foveal.models.family import CropRange
from tests.parity.golden import GoldenCase, golden_cases
from tests.parity.naive import NaiveRun, naive_greedy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foveal.models.phi3_v.model import Phi3VImages

PIXEL_TOLERANCE, LOGIT_TOLERANCE = 1e-5, 1e-3

CASES = golden_cases("phi3_v")
every_case = pytest.mark.parametrize("case", CASES, ids=str)
image_case = pytest.mark.parametrize("case", [case for case in CASES if case.facts["images"]], ids=str)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def started(case: GoldenCase) -> NaiveRun:
    prepared = case.prepared()
    return NaiveRun(case.model(), prepared.prompt, case.facts["prompt_tokens"] + 12, prepared.pixels)


@every_case
def test_the_token_counts_are_equal(case: GoldenCase) -> None:
    prompt = case.prepared().prompt

    assert len(prompt.token_ids) == case.facts["prompt_tokens"]
    assert [image.image.layout.num_tokens for image in prompt.images] == case.facts.get("num_img_tokens", [])
    assert [list(image.image.layout.pixel_shape[:2]) for image in prompt.images] == case.facts.get("image_sizes_hw", [])


@image_case
def test_the_pixels_are_equal(case: GoldenCase) -> None:
    images, prepared, expected = cast("Phi3VImages", case.model().images), case.prepared(), case.expected()

    for i, (image, pixels) in enumerate(zip(prepared.prompt.images, prepared.pixels, strict=True)):
        layout = image.image.layout
        units = images.crops(CropRange(torch.from_numpy(pixels), layout, 0, layout.num_crops))
        num_crops = layout.grid[0] * layout.grid[1]
        whole_then_crops = torch.cat([units[:1], units[-num_crops:]])  # one crop is its own whole
        reference = expected[f"pixels{i}_every_8th"]
        torch.testing.assert_close(whole_then_crops[..., ::8, ::8], reference, atol=PIXEL_TOLERANCE, rtol=0)


@every_case
def test_the_logits_are_equal(case: GoldenCase) -> None:
    expected = case.expected()

    logits = case.model().decoder.logits(started(case).prefill())

    torch.testing.assert_close(logits[-1], expected["last_logits"], atol=LOGIT_TOLERANCE, rtol=0)
    if "logits_every_16th" in expected:
        torch.testing.assert_close(logits[::16], expected["logits_every_16th"], atol=LOGIT_TOLERANCE, rtol=0)


@every_case
@pytest.mark.parametrize("chunk_size", [None, 61, 512])
def test_the_greedy_tokens_are_equal(case: GoldenCase, chunk_size: int | None) -> None:
    prepared, greedy = case.prepared(), case.facts["greedy"]

    assert naive_greedy(case.model(), prepared.prompt, len(greedy), prepared.pixels, chunk_size) == greedy


@every_case
def test_a_prompt_whose_beginning_is_cached_gives_the_same_logits(case: GoldenCase) -> None:
    plain, cached = started(case), started(case)
    plain_hidden = plain.prefill()

    cached.kv_cache.copy_(plain.kv_cache)
    cached.num_computed_tokens = len(plain.prompt.token_ids) * 2 // 3
    cached_hidden = cached.prefill()

    logits = case.model().decoder.logits
    torch.testing.assert_close(logits(cached_hidden[-1:]), logits(plain_hidden[-1:]), atol=1e-4, rtol=0)


@image_case
def test_an_image_encoded_over_several_steps_has_the_same_features(case: GoldenCase) -> None:
    images, prepared = case.model().images, case.prepared()
    assert images is not None
    layout, pixels = prepared.prompt.images[0].image.layout, torch.from_numpy(prepared.pixels[0])

    [at_once] = finish(images.encode_crops([CropRange(pixels, layout, 0, layout.num_crops)]))
    steps = [finish(images.encode_crops([CropRange(pixels, layout, i, i + 1)]))[0] for i in range(layout.num_crops)]

    torch.testing.assert_close(torch.cat(steps), at_once, atol=1e-5, rtol=0)

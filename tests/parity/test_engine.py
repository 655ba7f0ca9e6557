"""The engine gives the naive loop's greedy tokens, however it batches, cuts, caches, preempts and resumes."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from foveal.arena import PixelArena
from foveal.config import EngineConfig
from foveal.engine.loading import build_engine
from foveal.engine.protocol import Submit
from foveal.engine.resolve import Capacity, StateRoom
from foveal.models.registry import load_model, load_processor
from foveal.types import PixelRef, Prompt, SamplingParams
from tests.builders import PreparedPrompt, prepared_prompt, tiny_phi3_v
from tests.parity.families import FAMILIES
from tests.parity.golden import golden_cases
from tests.parity.naive import naive_greedy
from tests.parity.text import text_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from foveal.layers.pieces import Pieces
    from foveal.models.family import CropRange, ImageSide, Model, Processor
    from foveal.types import ImageSpan, Token

ARENA_BYTES = 64 << 20


@dataclass(frozen=True)
class Question:
    """A prompt with its pixels, and the tokens that follow it by the naive loop or by the golden data."""

    prepared: PreparedPrompt
    greedy: list[int]

    @property
    def spans(self) -> list[ImageSpan]:
        return [span for image in self.prepared.prompt.images for span in image.spans]

    @property
    def images_end(self) -> int:
        return max((span.end for span in self.spans), default=0)

    def num_tokens_to_find(self, whole_spans: bool) -> int:
        """How much of the prompt a second run finds in blocks of 16: never the last token, nor a part of a span."""
        stop = (len(self.prepared.prompt.token_ids) - 1) // 16 * 16
        cut = [span.offset for span in self.spans if span.offset < stop < span.end and whole_spans]
        return cut[0] // 16 * 16 if cut else stop


@dataclass(frozen=True)
class Subject:
    """A model and what it is asked."""

    model: Model
    questions: dict[str, Question]

    @property
    def with_image(self) -> Question:
        return next(question for question in self.questions.values() if question.prepared.pixels)


def golden_subject(folder: Path) -> Subject:
    cases = [case for case in golden_cases("phi3_v") if case.folder == folder]
    return Subject(cases[0].model(), {case.name: Question(case.prepared(), case.facts["greedy"]) for case in cases})


def random_subject(make: Callable[[Path, int], object], seed: int) -> Subject:
    """A checkpoint of its own for the seed, asked about random pictures of several shapes."""
    with TemporaryDirectory() as name:
        make(Path(name), seed)
        model, processor = load_model(name, torch.device("cpu"), torch.float32), load_processor(name)
        random = np.random.default_rng(seed)
        return Subject(model, {name: random_question(model, processor, random, name) for name in SIZES})


SIZES: dict[str, list[tuple[int, int]]] = {
    "none": [],
    "wide": [(90, 40)],
    "tall": [(30, 100)],
    "two": [(50, 50), (20, 60)],
    "long": [(64, 64)],
}


def random_question(model: Model, processor: Processor | None, random: np.random.Generator, name: str) -> Question:
    pictures = [Image.fromarray(random.integers(0, 256, (h, w, 3), np.uint8)) for w, h in SIZES[name] if processor]
    segments = [random.integers(3, 259, 300 if name == "long" else 9).tolist() for _ in range(len(pictures) + 1)]
    prepared = prepared_prompt(processor, segments, pictures)
    return Question(prepared, naive_greedy(model, prepared.prompt, 12, prepared.pixels))


@functools.cache
def subject_named(name: str) -> Subject:
    if name in IMAGE_MAKERS or name in TEXT_MAKERS:
        return random_subject((IMAGE_MAKERS | TEXT_MAKERS)[name], seed=1)
    return golden_subject(Path(name))


IMAGE_MAKERS: dict[str, Callable[[Path, int], object]] = {
    "phi3_v": functools.partial(tiny_phi3_v, num_crops=6),
    **{name: family.make for name, family in FAMILIES.items() if "," not in name},
}
TEXT_MAKERS = {kind: functools.partial(text_checkpoint, kind) for kind in ("llama", "mistral with a window")}
WITH_IMAGES = [*IMAGE_MAKERS, *sorted({str(case.folder) for case in golden_cases("phi3_v")})]


def subjects(names: Sequence[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("subject", names, indirect=True, ids=lambda name: Path(name).name)


every_subject = subjects([*TEXT_MAKERS, *WITH_IMAGES])
every_subject_with_images = subjects(WITH_IMAGES)


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Subject:
    return subject_named(request.param)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


class Asked:
    """An engine over a subject's model, with the crops that it has encoded and whether it has preempted."""

    def __init__(
        self,
        model: Model,
        monkeypatch: pytest.MonkeyPatch,
        num_blocks: int = 1024,
        num_snapshots: int = 64,
        **settings: int,
    ) -> None:
        self.num_encoded_crops = 0
        self.has_preempted = False
        self.arena = PixelArena.create(ARENA_BYTES)
        self._num_arena_bytes = 0
        self._num_requests = 0
        config = replace(EngineConfig(), **settings)  # type: ignore[arg-type]  # the settings that are numbers
        states = StateRoom(config.max_num_seqs, num_snapshots) if model.decoder.state_shapes else None
        capacity = Capacity(num_blocks, model.decoder.max_model_len, states)
        self.engine = build_engine(model, config, self.arena, capacity, torch.device("cpu"), torch.float32)
        if model.images is None:
            return
        encode_crops = type(model.images).encode_crops

        def counting(images: ImageSide, work: Sequence[CropRange]) -> Pieces[list[torch.Tensor]]:
            self.num_encoded_crops += sum(part.stop - part.start for part in work)
            return encode_crops(images, work)

        monkeypatch.setattr(type(model.images), "encode_crops", counting)

    def tokens(self, *questions: Question) -> list[list[Token]]:
        """What the engine answers to all of them at once."""
        ids = range(self._num_requests, self._num_requests + len(questions))
        self._num_requests += len(questions)
        answers: dict[int, list[Token]] = {sequence_id: [] for sequence_id in ids}
        for sequence_id, question in zip(ids, questions, strict=True):
            sampling = SamplingParams(temperature=0.0, max_tokens=len(question.greedy), num_logprobs=0)
            self.engine.add(Submit(sequence_id, self._placed(question.prepared), sampling))
        while not self.engine.is_idle:
            for sequence_id, token in self.engine.step().tokens:
                answers[sequence_id].append(token)
            self.engine.check_integrity()
            self.has_preempted |= any(sequence.num_output_tokens for sequence in self.engine.scheduler.waiting)
        return list(answers.values())

    def token_ids(self, *questions: Question) -> list[list[int]]:
        return [[token.token_id for token in answer] for answer in self.tokens(*questions)]

    def _placed(self, prepared: PreparedPrompt) -> Prompt:
        """The prompt, its pixels put into the arena."""
        images = []
        for image, pixels in zip(prepared.prompt.images, prepared.pixels, strict=True):
            ref = PixelRef(self._num_arena_bytes, pixels.shape)
            self.arena.view(ref)[:] = pixels
            self._num_arena_bytes += pixels.nbytes
            images.append(replace(image, image=replace(image.image, pixels=ref)))
        return replace(prepared.prompt, images=tuple(images))


@every_subject
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="together"),
        pytest.param({"max_num_batched_tokens": 100}, id="chunked"),
        pytest.param({"max_num_batched_crops": 3}, id="encoder split over steps"),
        pytest.param({"max_num_seqs": 1}, id="alone"),
        pytest.param({"encoder_cache_bytes": 0}, id="no encoder cache"),
        pytest.param({"block_size": 5}, id="odd blocks"),
    ],
)
def test_the_tokens_are_the_naive_loops(
    subject: Subject, settings: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(subject.model, monkeypatch, **settings)

    answers = asked.token_ids(*subject.questions.values())

    assert answers == [question.greedy for question in subject.questions.values()]


@every_subject
def test_a_preempted_sequence_goes_on_with_the_same_tokens(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    shortest = sorted(subject.questions.values(), key=lambda question: len(question.prepared.prompt.token_ids))[:2]
    num_tokens = sum(len(question.prepared.prompt.token_ids) for question in shortest)
    asked = Asked(subject.model, monkeypatch, num_blocks=num_tokens + 10, block_size=1)

    answers = asked.token_ids(*shortest)

    assert asked.has_preempted
    assert answers == [question.greedy for question in shortest]


@every_subject
@pytest.mark.parametrize("encoder_cache_bytes", [0, 1 << 20])
def test_a_repeated_prompt_is_found_and_its_images_are_not_encoded(
    subject: Subject, encoder_cache_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = subject.model
    asked = Asked(model, monkeypatch, encoder_cache_bytes=encoder_cache_bytes)
    found = {name: q.num_tokens_to_find(model.traits.whole_spans) for name, q in subject.questions.items()}
    questions = {
        name: question
        for name, question in subject.questions.items()
        if encoder_cache_bytes
        or (question.images_end <= found[name] and not (model.traits.rereads_images and question.spans))
    }
    asked.tokens(*questions.values())
    num_encoded_crops = asked.num_encoded_crops

    answers = asked.tokens(*questions.values())

    for answer, (name, question) in zip(answers, questions.items(), strict=True):
        assert [token.token_id for token in answer] == question.greedy
        assert answer[0].num_cached_tokens == found[name]
    assert asked.num_encoded_crops == num_encoded_crops


@every_subject_with_images
def test_an_image_behind_another_text_is_not_encoded_again(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    question = subject.with_image
    prompt = question.prepared.prompt
    moved = tuple(
        replace(image, spans=tuple(span._replace(offset=span.offset + 2) for span in image.spans))
        for image in prompt.images
    )
    elsewhere = replace(question.prepared, prompt=Prompt((5, 6, *prompt.token_ids), moved))
    expected = naive_greedy(subject.model, elsewhere.prompt, 12, elsewhere.pixels)
    asked = Asked(subject.model, monkeypatch)
    asked.tokens(question)
    num_encoded_crops = asked.num_encoded_crops

    [answer] = asked.token_ids(Question(elsewhere, expected))

    assert answer == expected
    assert asked.num_encoded_crops == num_encoded_crops

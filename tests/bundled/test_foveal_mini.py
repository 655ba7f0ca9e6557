"""foveal-mini through the whole product, on pictures that its generator did not draw and questions in plain words."""

import asyncio
import base64
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import pytest
from PIL import Image, ImageDraw

from foveal.config import Config, EngineConfig, ImageConfig, ModelConfig
from foveal.engine_client.local import LocalEngine
from foveal.models.hub import BUNDLED_FOLDER
from foveal.serving.lifecycle import Service
from foveal.types import ChatRequest, GenerationOptions, ImageRef, Message

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "orange": (255, 165, 0),
    "purple": (128, 0, 128),
}
NUMBERS = ("one", "two", "three")
BACKGROUNDS = ("white", "black", "lightgrey")
ENOUGH = 0.9  # of the answers are right

Box = tuple[float, float, float, float]
Draw = Callable[[ImageDraw.ImageDraw, Box, tuple[int, int, int]], None]


def _triangle(pen: ImageDraw.ImageDraw, box: Box, colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = box
    pen.polygon([((left + right) / 2, top), (right, bottom), (left, bottom)], colour)


SHAPES: dict[str, Draw] = {
    "circle": lambda pen, box, colour: pen.ellipse(box, colour),
    "square": lambda pen, box, colour: pen.rectangle(box, colour),
    "triangle": _triangle,
}


RIVALS = (frozenset(COLOURS) | {"white", "black"}, frozenset(SHAPES), frozenset(NUMBERS))


@dataclass(frozen=True)
class Sample:
    picture: Image.Image
    question: str
    answer: str


def one_shape() -> Iterator[Sample]:
    """One shape somewhere in a picture of some size; alternately its colour and its kind are asked for."""
    for number, (kind, colour, background) in enumerate(product(SHAPES, COLOURS, BACKGROUNDS)):
        size = (224 + 32 * (number % 5), 224 + 48 * (number % 3))
        side = (0.35 + 0.07 * (number % 5)) * min(size)
        left, top = (size[0] - side) * (number % 7) / 6, (size[1] - side) * (number % 4) / 3
        picture = Image.new("RGB", size, background)
        SHAPES[kind](ImageDraw.Draw(picture), (left, top, left + side, top + side), COLOURS[colour])
        yield Sample(picture, f"What colour is the {kind}?", colour)
        yield Sample(picture, "What shape is in the picture?", kind)


def two_shapes() -> Iterator[Sample]:
    """Two shapes of different kinds and colours side by side, one of which is asked for by the other property."""
    pairs = [(a, b) for a, b in product(SHAPES, SHAPES) if a != b]
    for number, ((first, second), shift) in enumerate(product(pairs, (1, 2, 4))):
        names = list(COLOURS)
        one, other = names[number % len(names)], names[(number + shift) % len(names)]
        picture = Image.new("RGB", (448, 300), BACKGROUNDS[number % 3])
        pen = ImageDraw.Draw(picture)
        SHAPES[first](pen, (40, 80, 190, 230), COLOURS[one])
        SHAPES[second](pen, (250, 60, 410, 220), COLOURS[other])
        yield Sample(picture, f"What colour is the {second}?", other)
        yield Sample(picture, f"Which shape is {one}?", first)


def rows_of_shapes() -> Iterator[Sample]:
    """One to three shapes in a row: how many, the colour of the first, the background, and all of it in a sentence."""
    names, kinds = list(COLOURS), list(SHAPES)
    for number in range(24):
        count, background = 1 + number % 3, ("white", "black")[number % 2]
        picture = Image.new("RGB", (480, 320), background)
        pen, top = ImageDraw.Draw(picture), 60 + 20 * (number % 5)
        drawn = [(kinds[(number + n) % 3], names[(2 * number + n * (1 + number % 4)) % 6]) for n in range(count)]
        for place, (kind, colour) in enumerate(drawn):
            SHAPES[kind](pen, (20 + 150 * place, top, 150 + 150 * place, top + 130), COLOURS[colour])
        yield Sample(picture, "How many shapes are there?", NUMBERS[count - 1])
        yield Sample(picture, f"What colour is the {drawn[0][0]}?", drawn[0][1])
        yield Sample(picture, "What is the background colour?", background)
        yield Sample(picture, "Describe the picture.", f"{drawn[0][1]} {drawn[0][0]}")


def asked(sample: Sample, max_tokens: int = 40) -> ChatRequest:
    encoded = io.BytesIO()
    sample.picture.save(encoded, "PNG")
    source = "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()
    turn = Message("user", (ImageRef(source, 1), sample.question))
    return ChatRequest((turn,), GenerationOptions(max_tokens=max_tokens))


async def answers(requests: list[ChatRequest]) -> list[str]:
    """The served model's answers, eight at a time."""
    service = Service(CONFIG, BUNDLED_FOLDER)
    gate = asyncio.Semaphore(8)

    async def answer(request: ChatRequest) -> str:
        greedy = GenerationOptions(service.pipeline.card.default_sampling, request.options.max_tokens)
        async with gate, service.pipeline.answer(ChatRequest(request.messages, greedy)) as running:
            return "".join([delta.text async for delta in running.deltas()])

    try:
        await service.start(LocalEngine.start)
        return await asyncio.gather(*map(answer, requests))
    finally:
        await service.close()


CONFIG = Config(ModelConfig(), EngineConfig(num_threads=1), ImageConfig(num_workers=0))


def is_right(answer: str, sample: Sample) -> bool:
    """The words that were asked for, and no other of their kind."""
    if " " in sample.answer:
        return sample.answer in answer
    words = set(re.findall(r"[a-z]+", answer.lower()))
    rivals = next(names for names in RIVALS if sample.answer in names)
    return words & rivals == {sample.answer}


@pytest.mark.parametrize("samples", [one_shape, two_shapes, rows_of_shapes])
@pytest.mark.slow
def test_colours_and_shapes_are_told_nine_times_in_ten(samples: Callable[[], Iterator[Sample]]) -> None:
    drawn = list(samples())
    said = asyncio.run(answers([asked(sample) for sample in drawn]))
    wrong = [(sample.question, sample.answer, text) for sample, text in zip(drawn, said, strict=True)
             if not is_right(text, sample)]  # fmt: skip
    assert 1 - len(wrong) / len(drawn) >= ENOUGH, wrong


def test_every_answer_ends() -> None:
    sample = next(one_shape())
    questions = ["", "?" * 50, "asdf qwer zxcv", "Tell me a story.", "What can you do?", "1 2 3 4 5 6 7 8 9"]
    requests = [asked(Sample(sample.picture, question, ""), max_tokens=200) for question in questions]
    said = asyncio.run(answers(requests))
    assert all(len(text) < 600 for text in said), said


def test_a_picture_without_a_question_is_described() -> None:
    """Alone, with an empty text, and after a turn of small talk."""
    shown = asked(next(one_shape())).messages[0].content[0]
    talk = (Message("user", ("Hello",)), Message("assistant", ("Hello! Show me a picture.",)))
    conversations = [(Message("user", (shown,)),), (Message("user", (shown, "")),), (*talk, Message("user", (shown,)))]
    options = GenerationOptions(max_tokens=40)
    said = asyncio.run(answers([ChatRequest(messages, options) for messages in conversations]))
    assert all({"red", "circle"} <= set(re.findall(r"[a-z]+", text.lower())) for text in said), said

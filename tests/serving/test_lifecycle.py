"""A served model, put together from a checkpoint folder."""

import asyncio
import json
from pathlib import Path

import pytest

from foveal.config import Config, ModelConfig
from foveal.engine_client.local import LocalEngine
from foveal.errors import InvalidRequest
from foveal.models.checkpoint import Checkpoint
from foveal.serving.lifecycle import Service, default_sampling, model_id
from foveal.types import ChatRequest, GenerationOptions, ImageRef, Message, SamplingParams
from tests.builders import tiny_llama, tiny_phi3_v


@pytest.mark.parametrize(
    ("generation_config", "expected"),
    [
        ({}, SamplingParams(temperature=1.0)),
        ({"do_sample": False, "temperature": 0.6}, SamplingParams(temperature=0.0)),
        ({"temperature": 0.0}, SamplingParams(temperature=0.0)),
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.9}, SamplingParams(temperature=0.6, top_p=0.9)),
        ({"temperature": None, "top_k": 50}, SamplingParams(temperature=1.0, top_k=50)),
        ({"repetition_penalty": 1.05, "min_p": 0.1}, SamplingParams(repetition_penalty=1.05, min_p=0.1)),
    ],
)
def test_what_a_request_leaves_open_comes_from_the_checkpoint(
    tmp_path: Path, generation_config: dict[str, object], expected: SamplingParams
) -> None:
    folder = tiny_phi3_v(tmp_path, eos_token_id=None)
    (folder / "generation_config.json").write_text(json.dumps(generation_config))
    assert default_sampling(Checkpoint.read(folder), ()) == expected


def test_an_answer_ends_at_the_tokens_of_the_checkpoint_and_of_the_conversation(tmp_path: Path) -> None:
    checkpoint = Checkpoint.read(tiny_phi3_v(tmp_path))
    first = checkpoint.eos_token_ids
    assert default_sampling(checkpoint, (first[0], 77)).stop_token_ids == (*first, 77)


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [
        ("foveal-mini", None, "foveal-mini"),
        ("microsoft/Phi-3-vision-128k-instruct", None, "microsoft/Phi-3-vision-128k-instruct"),
        ("microsoft/Phi-3-vision-128k-instruct", "eyes", "eyes"),
        ("FOLDER", None, "my-model"),
    ],
)
def test_a_model_is_called_as_configured_or_by_its_id_or_folder(
    tmp_path: Path, path: str, name: str | None, expected: str
) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    config = Config(ModelConfig(path=str(folder) if path == "FOLDER" else path, name=name))
    assert model_id(config) == expected


def test_a_text_model_is_served_without_images(tmp_path: Path) -> None:
    options = GenerationOptions(max_tokens=3)
    plain = ChatRequest((Message("user", ("hello",)),), options)
    with_image = ChatRequest((Message("user", (ImageRef("data:,", 1), "hello")),), options)

    async def ask() -> int:
        service = Service(Config(ModelConfig(path=str(tmp_path))), tiny_llama(tmp_path))
        await service.start(LocalEngine.start)
        try:
            assert not service.pipeline.card.supports_image_input
            with pytest.raises(InvalidRequest, match="takes no images"):
                async with service.pipeline.answer(with_image):
                    pass
            async with service.pipeline.answer(plain) as answer:
                assert [delta.finish_reason async for delta in answer.deltas()][-1] is not None
                return answer.usage.completion_tokens
        finally:
            await service.close()

    assert asyncio.run(ask()) > 0


def test_a_conversation_may_be_written_by_the_checkpoint_s_own_template(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path)
    (folder / "chat_template.jinja").write_text("{% for m in messages %}[{{ m.content | trim }}]{% endfor %}")

    async def written() -> list[str | int]:
        service = Service(Config(ModelConfig(path=str(folder), conversation="checkpoint")), folder)
        await service.start(LocalEngine.start)
        try:
            async with service.pipeline.answer(ChatRequest((Message("user", (" Q ",)),))) as answer:
                return answer.prompt_fragments()
        finally:
            await service.close()

    assert asyncio.run(written())[-3:] == ["[", "Q", "]"]

"""A served model, built from a checkpoint folder."""

import asyncio
import json
from pathlib import Path

import pytest

from foveal.accounting.accounting import Accounting
from foveal.accounting.database import Database
from foveal.arena import PixelArena
from foveal.config import Config, EngineConfig, ModelConfig, PriceConfig
from foveal.engine_client.client import EngineClient
from foveal.engine_client.local import LocalEngine
from foveal.errors import InvalidRequest
from foveal.models.checkpoint import Checkpoint
from foveal.serving.lifecycle import Service, default_sampling, model_id
from foveal.types import (
    Caller,
    ChatRequest,
    GenerationOptions,
    ImageRef,
    Message,
    OnProgress,
    SamplingParams,
    Token,
)
from tests.accounting.builders import key, with_keys
from tests.builders import tiny_llama, tiny_phi3_v
from tests.conversation.tools.test_found import HEAD, HERMES, TAIL
from tests.serving.test_pipeline import ScriptedEngine


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


@pytest.mark.parametrize(
    ("template", "expected"), [(HEAD + HERMES + TAIL, True), (HEAD + "{{ m.content }}{% endfor %}" + TAIL, False)]
)
def test_a_model_supports_tools_where_its_template_writes_calls(tmp_path: Path, template: str, expected: bool) -> None:
    folder = tiny_llama(tmp_path)
    (folder / "chat_template.jinja").write_text(template)

    async def supports_tools() -> bool:
        service = Service(Config(ModelConfig(path=str(folder))), folder)
        await service.close()
        return service.pipeline.card.supports_tools

    assert asyncio.run(supports_tools()) == expected


def test_several_models_run_side_by_side_with_one_accounting_and_prices_of_their_own(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model")
    request = ChatRequest((Message("user", ("hello",)),), GenerationOptions(max_tokens=3), Caller("", "alice"))

    async def start_engine(path: str, config: EngineConfig, arena: PixelArena, _: OnProgress) -> EngineClient:
        return ScriptedEngine(lambda seed: [Token(1), Token(1, "length")])

    async def ask_both() -> None:
        accounting = Accounting(open_books=with_keys(tmp_path, key("alice")))
        accounting.start()
        configs = [Config(ModelConfig(str(folder), name=f"at {price}"), prices=PriceConfig(price)) for price in (1, 2)]
        services = [Service(config, folder, accounting) for config in configs]
        for service in services:
            await service.start(start_engine)
        async with services[0].pipeline.answer(request) as one, services[1].pipeline.answer(request) as other:
            assert [delta.finish_reason async for delta in other.deltas()][-1] == "length"
            await services[1].close()
            assert [delta.finish_reason async for delta in one.deltas()][-1] == "length"
        await services[0].close()
        await accounting.close()

    asyncio.run(ask_both())
    cheap, dear = Database(tmp_path / "accounting.db").usage("model")
    assert (cheap.group, cheap.num_requests, dear.group, dear.num_requests) == ("at 1", 1, "at 2", 1)
    assert dear.cost_nano == 2 * cheap.cost_nano > 0

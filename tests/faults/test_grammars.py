"""Answers with a grammar, when the engine dies and when the grammar fails."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from foveal.config import Config, EngineConfig, ImageConfig, ModelConfig
from foveal.engine_client.supervisor import EngineProcess
from foveal.serving.lifecycle import Service
from foveal.types import ChatRequest, GenerationOptions, Grammar, Message, SamplingParams
from tests.builders import tiny_phi3_v

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.serving.pipeline import Pipeline

WORDS = {"type": "array", "items": {"type": "string", "pattern": "^[a-z]{4}$"}, "minItems": 12, "maxItems": 12}


def request(pipeline: Pipeline) -> ChatRequest:
    sampling = SamplingParams(seed=5, stop_token_ids=pipeline.card.default_sampling.stop_token_ids)
    grammar = Grammar("json_schema", json.dumps(WORDS))
    options = GenerationOptions(sampling, max_tokens=500, grammar=grammar)
    return ChatRequest((Message("user", ("Twelve words?",)),), options)


async def answer(pipeline: Pipeline, kill_after: int | None = None) -> str:
    """The text of the answer; the engine's process is killed when so many tokens of it are there."""
    text = ""
    async with pipeline.answer(request(pipeline)) as running:
        async for delta in running.deltas():
            text += delta.text
            if running.usage.completion_tokens == kill_after:
                assert isinstance(pipeline.engine, EngineProcess)
                assert pipeline.engine.pid is not None
                os.kill(pipeline.engine.pid, signal.SIGKILL)
    return text


@pytest.mark.slow
def test_an_answer_goes_on_in_its_grammar_after_kill_9(tmp_path: Path) -> None:
    folder = tiny_phi3_v(tmp_path / "tiny")
    config = Config(
        ModelConfig(path=str(folder)),
        EngineConfig(dtype="float32", num_threads=1, kv_cache_bytes=1 << 22),
        ImageConfig(num_workers=0, arena_bytes=1 << 20),
    )

    async def scenario() -> tuple[str, str]:
        service = Service(config, folder)
        try:
            await service.start(EngineProcess.start)
            return await answer(service.pipeline), await answer(service.pipeline, kill_after=30)
        finally:
            await service.close()

    whole, resumed = asyncio.run(scenario())

    assert resumed == whole
    assert [len(word) for word in json.loads(whole)] == [4] * 12

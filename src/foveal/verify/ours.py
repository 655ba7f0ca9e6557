"""The answers of Foveal: the whole pipeline and the engine, in this process, as `foveal ask` runs them."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

from foveal.engine_client.local import LocalEngine
from foveal.serving.lifecycle import Service
from foveal.types import ChatRequest, GenerationOptions, ImageRef, Message, SamplingParams
from foveal.verify.cases import as_png, cases_for, pictures
from foveal.verify.compare import Said

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.config import Config
    from foveal.types import OnProgress
    from foveal.verify.cases import Case

TOP = 5  # logprobs a token


async def ask_ours(config: Config, folder: Path, num_tokens: int, on_progress: OnProgress) -> dict[Case, Said]:
    """Raises FovealError."""
    service = Service(config, folder)
    try:
        await service.start(LocalEngine.start, on_progress)
        cases = cases_for(service.pipeline.card.supports_image_input)
        return {case: await _ask(service, case, num_tokens) for case in cases}
    finally:
        await service.close()


async def _ask(service: Service, case: Case, num_tokens: int) -> Said:
    sampling = SamplingParams(temperature=0, ignore_eos=True, num_logprobs=TOP)
    sampling = replace(sampling, stop_token_ids=service.pipeline.card.default_sampling.stop_token_ids)
    request = ChatRequest((_message(case),), GenerationOptions(sampling, num_tokens))
    async with service.pipeline.answer(request) as answer:
        deltas = [delta async for delta in answer.deltas()]
        return Said(
            prompt=answer.prompt_token_ids,
            tokens=tuple(token_id for delta in deltas for token_id in delta.token_ids),
            logprobs=tuple(
                {top.token_id: top.logprob for top in token.top if top.token_id is not None and top.logprob is not None}
                for delta in deltas
                for token in delta.logprobs
            ),
            text="".join(delta.reasoning + delta.text for delta in deltas),
            num_image_tokens=answer.usage.image_tokens,
        )


def _message(case: Case) -> Message:
    urls = ["data:image/png;base64," + base64.b64encode(as_png(picture)).decode() for picture in pictures(case)]
    images = [ImageRef(url, position) for position, url in enumerate(urls, 1)]
    return Message("user", (*images, case.question))

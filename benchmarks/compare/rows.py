"""What is measured of a server, as requests over HTTP. Rows are named as in the table.

Every picture and question is new, so that only what is asked again can come from a cache. Answers are greedy and have
as many tokens as asked for; tokens are counted by `usage`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import numpy as np

from foveal.bench.client import open_client, send
from foveal.bench.clock import MonotonicClock
from foveal.bench.conversations import WORDS
from foveal.bench.pictures import data_url, draw
from foveal.bench.records import Answer, Request, Server
from foveal.bench.timing import e2e_s, tpot_s, ttft_s
from foveal.types import Size

TIMEOUT_S = 900.0
PICTURE = Size(512, 512)
NUM_WORDS = 5  # of a question: about 34 tokens with a tokenizer of bytes
ANSWER_TOKENS, STREAM_TOKENS = 16, 64
NUM_AT_ONCE = 8
STREAMS = (1, 4, 16)
Messages = list[dict[str, Any]]
Values = dict[str, list[float]]


class Failed(Exception):
    """A server answered with an error, or with fewer tokens than were asked for."""


def user(text: str, picture: str | None = None) -> dict[str, Any]:
    image = [{"type": "image_url", "image_url": {"url": picture}}] if picture else []
    return {"role": "user", "content": [*image, {"type": "text", "text": text}]}


@dataclass
class Asker:
    """Asks one server. `seed` must differ between visits of one server."""

    client: httpx.AsyncClient
    model: str
    seed: int
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def new(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, next(self.numbers)])

    def question(self) -> str:
        return " ".join(self.new().choice(WORDS, NUM_WORDS))

    def picture(self, size: Size = PICTURE) -> str:
        return data_url(draw(self.new(), size), "jpeg")

    async def ask(self, messages: Messages, max_tokens: int) -> Answer:
        """Raises Failed."""
        body = {"model": self.model, "messages": messages, "max_tokens": max_tokens, "temperature": 0}
        extra = {"stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True}
        sent = msgspec.json.encode(body | extra)
        answer = await send(self.client, Request(0, 1, 0), sent, MonotonicClock(), TIMEOUT_S)
        sample = answer.sample
        if sample.error is not None or sample.completion_tokens != max_tokens:
            raise Failed(sample.error or f"{sample.completion_tokens} tokens instead of {max_tokens}")
        return answer


async def conversations(asker: Asker, times: int) -> Values:
    """First token of an unseen picture, of the same request again, and of a second turn."""
    values: Values = {"first": [], "again": [], "turn": []}
    for _ in range(times):
        messages = [user(asker.question(), asker.picture())]
        answer = await asker.ask(messages, ANSWER_TOKENS)
        later = [*messages, {"role": "assistant", "content": answer.text}, user(asker.question())]
        values["first"].append(first_s(answer))
        values["again"].append(first_s(await asker.ask(messages, ANSWER_TOKENS)))
        values["turn"].append(first_s(await asker.ask(later, ANSWER_TOKENS)))
    return values


async def short_text(asker: Asker, times: int) -> Values:
    answers = [await asker.ask([user(asker.question())], 1) for _ in range(3 * times)]
    return {"short": [e2e_s(answer.sample) for answer in answers]}


async def streams(asker: Asker, times: int) -> Values:
    """Tokens a second of streams of text that run together."""
    return {f"decode{count}": await _streams(asker, count, times) for count in STREAMS}


async def _streams(asker: Asker, count: int, times: int) -> list[float]:
    rates = []
    for _ in range(times if count == 1 else 1):
        asked = [asker.ask([user(asker.question())], STREAM_TOKENS) for _ in range(count)]
        answers = await asyncio.gather(*asked)
        rates.append(sum(1 / (tpot_s(answer.sample) or float("nan")) for answer in answers))
    return rates


async def at_once(asker: Asker, times: int) -> Values:
    """Eight questions at once, each about its own picture."""
    questions = [[user(asker.question(), asker.picture())] for _ in range(NUM_AT_ONCE)]
    started_s = time.perf_counter()
    await asyncio.gather(*(asker.ask(messages, STREAM_TOKENS) for messages in questions))
    wall_s = time.perf_counter() - started_s
    return {"wall8": [wall_s], "rate8": [NUM_AT_ONCE * STREAM_TOKENS / wall_s]}


GROUPS: dict[str, Callable[[Asker, int], Any]] = {
    "conversations": conversations,
    "short": short_text,
    "streams": streams,
    "at_once": at_once,
}


async def measure(url: str, groups: Sequence[str], times: int, seed: int) -> tuple[Values, float]:
    """Values of each row, and the tokens of a picture. Raises Failed and httpx.HTTPError."""
    async with open_client(Server(url, ""), TIMEOUT_S) as client:
        listed = (await client.get("models")).raise_for_status().json()
        asker = Asker(client, listed["data"][0]["id"], seed)
        tokens = await _warm_up(asker)
        values: Values = {}
        for group in groups:
            values |= await GROUPS[group](asker, times)
    return values, tokens


async def _warm_up(asker: Asker) -> float:
    """One question without a picture and one with it. The difference is what a picture takes in tokens."""
    text = asker.question()
    plain = await asker.ask([user(text)], 2)
    seen = await asker.ask([user(text, asker.picture())], 2)
    return float((seen.sample.prompt_tokens or 0) - (plain.sample.prompt_tokens or 0))


def first_s(answer: Answer) -> float:
    found = ttft_s(answer.sample)
    if found is None:
        raise Failed("an answer without text")
    return found

"""guidance, with the server as OpenAI's: a text, and a value that a schema holds."""

from __future__ import annotations

import json

import guidance
from guidance import assistant, gen, models, user

from tests.contract.clients.asked import asked, report
from tests.contract.clients.shape import MAX_TOKENS, Shape

ASKED = asked()


def model() -> models.OpenAI:
    return models.OpenAI(ASKED.model, api_key=ASKED.key, base_url=f"{ASKED.url}/v1", echo=False)


def plain() -> object:
    lm = model()
    with user():
        lm += ASKED.question
    with assistant():
        lm += gen("text", max_tokens=ASKED.max_tokens)
    return lm["text"]


def structured() -> object:
    lm = model()
    with user():
        lm += ASKED.question
    with assistant():
        lm += guidance.json("shape", schema=Shape, max_tokens=MAX_TOKENS)
    return json.loads(lm["shape"])


report({"plain": plain, "structured": structured})

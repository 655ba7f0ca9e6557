"""instructor in those of its modes that ask for a tool or a schema, on both of OpenAI's wires."""

from __future__ import annotations

import functools

import instructor
from instructor import Mode
from instructor.processing.multimodal import Image
from openai import OpenAI
from pydantic import BaseModel

from tests.contract.clients.asked import asked, report

ASKED = asked()
OPENAI = OpenAI(base_url=f"{ASKED.url}/v1", api_key=ASKED.key, max_retries=0)
MESSAGES = [{"role": "user", "content": [ASKED.question, Image.from_base64(ASKED.picture)]}]
MODES = (Mode.FUNCTIONS, Mode.TOOLS, Mode.TOOLS_STRICT, Mode.JSON_SCHEMA, Mode.RESPONSES_TOOLS)


class Shape(BaseModel):
    """A shape in the picture."""

    name: str
    sides: int


def extracted(mode: Mode) -> object:
    client = instructor.from_openai(OPENAI, mode=mode)
    return client.create(model=ASKED.model, response_model=Shape, messages=MESSAGES, max_retries=1)


report({mode.name: functools.partial(extracted, mode) for mode in MODES})

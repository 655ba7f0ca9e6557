"""Haystack: its generator for OpenAI's chats, with a class for the answer, and with a tool."""

from __future__ import annotations

import json

from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage, ImageContent
from haystack.tools import create_tool_from_function
from haystack.utils import Secret

from tests.contract.clients.asked import asked, report
from tests.contract.clients.shape import MAX_TOKENS, NAME, Shape, shape

ASKED = asked()
GENERATOR = OpenAIChatGenerator(
    model=ASKED.model,
    api_base_url=f"{ASKED.url}/v1",
    api_key=Secret.from_token(ASKED.key),
    generation_kwargs={"max_tokens": MAX_TOKENS},
    max_retries=0,
)
PICTURE = ImageContent(base64_image=ASKED.picture.partition(",")[2], mime_type="image/png")
MESSAGES = [ChatMessage.from_user(content_parts=[PICTURE, ASKED.question])]
TOOL = create_tool_from_function(shape)
NAMED = {"type": "function", "function": {"name": NAME}}


def structured() -> object:
    (reply,) = GENERATOR.run(MESSAGES, generation_kwargs={"response_format": Shape})["replies"]
    return json.loads(reply.text)


def called(*, streams: bool = False) -> object:
    callback = (lambda chunk: None) if streams else None
    made = GENERATOR.run(MESSAGES, callback, tools=[TOOL], generation_kwargs={"tool_choice": NAMED})
    ((call,),) = [reply.tool_calls for reply in made["replies"]]
    return call.arguments


report({"structured": structured, "tool": called, "tool, streamed": lambda: called(streams=True)})

"""The clients of the other wires: anthropic, openai's Responses and Azure, ollama. What each saw, in one form."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from anthropic import Anthropic
from ollama import Client
from openai import AzureOpenAI, OpenAI
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from tests.contract.clients.asked import asked, report

if TYPE_CHECKING:
    from collections.abc import Iterator

ASKED = asked()
DATA = ASKED.picture.partition(",")[2]
GREEDY = {"temperature": 0}
SCHEMA = {"type": "object", "properties": {"at": {"enum": ["left", "right"]}}, "required": ["at"]}

anthropic = Anthropic(base_url=ASKED.url, api_key=ASKED.key, max_retries=0)
openai = OpenAI(base_url=f"{ASKED.url}/v1", api_key=ASKED.key, max_retries=0)
azure = AzureOpenAI(azure_endpoint=ASKED.url, api_key=ASKED.key, api_version="2024-10-21", max_retries=0)
ollama = Client(ASKED.url, headers={"Authorization": f"Bearer {ASKED.key}"})
valid = TypeAdapter[Any](ResponseStreamEvent)


def saw(text: str, prompt_tokens: int, completion_tokens: int) -> dict[str, object]:
    return {"text": text, "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}


# --- Messages ---------------------------------------------------------------------------------------------------------

BLOCKS: list[Any] = [
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}},
    {"type": "text", "text": ASKED.question},
]
MESSAGES: dict[str, Any] = {"model": ASKED.model, "messages": [{"role": "user", "content": BLOCKS}]}
LIMITED = MESSAGES | {"max_tokens": ASKED.max_tokens, "extra_body": GREEDY}
TOOL: Any = {"name": "look", "description": "Looks.", "input_schema": SCHEMA}


def of_message(message: Any) -> dict[str, object]:
    text = "".join(block.text for block in message.content if block.type == "text")
    usage = message.usage
    return saw(text, usage.input_tokens + usage.cache_read_input_tokens, usage.output_tokens)


def message_stream() -> dict[str, object]:
    with anthropic.messages.stream(**LIMITED) as stream:
        return of_message(stream.get_final_message())


def message_tool() -> object:
    fields = LIMITED | {"max_tokens": 100}
    message = anthropic.messages.create(**fields, tools=[TOOL], tool_choice={"type": "tool", "name": "look"})
    return [block.input for block in message.content if block.type == "tool_use"]


# --- Responses --------------------------------------------------------------------------------------------------------

PARTS: list[Any] = [
    {"type": "input_image", "image_url": ASKED.picture, "detail": "auto"},
    {"type": "input_text", "text": ASKED.question},
]
RESPONSE: dict[str, Any] = {
    "model": ASKED.model,
    "input": [{"role": "user", "content": PARTS}],
    "max_output_tokens": ASKED.max_tokens,
    "temperature": 0,
}
FUNCTION: Any = {"type": "function", "name": "look", "parameters": SCHEMA, "strict": False}


def of_response(response: Any) -> dict[str, object]:
    return saw(response.output_text, response.usage.input_tokens, response.usage.output_tokens)


def response_stream() -> dict[str, object]:
    with openai.responses.stream(**RESPONSE) as stream:
        *_, last = stream
        return of_response(last.response)


def response_events() -> list[str]:
    """The types of a stream's events, each of which is what the client's own types say."""

    def events() -> Iterator[dict[str, Any]]:
        with openai.responses.with_streaming_response.create(**RESPONSE, stream=True) as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    return [valid.validate_python(event).type for event in events()]


def conversation() -> object:
    """A second turn that goes on from the first, then the first is deleted."""
    first = openai.responses.create(**RESPONSE)
    second = openai.responses.create(**RESPONSE | {"input": "Why?"}, previous_response_id=first.id)
    items = openai.responses.input_items.list(first.id).data
    openai.responses.delete(first.id)
    return {"grew": second.usage.input_tokens > first.usage.input_tokens, "items": [item.type for item in items]}


def response_tool() -> object:
    fields = RESPONSE | {"max_output_tokens": 100}
    response = openai.responses.create(**fields, tools=[FUNCTION], tool_choice="required", parallel_tool_calls=False)
    return [json.loads(item.arguments) for item in response.output if item.type == "function_call"]


# --- Ollama and Azure -------------------------------------------------------------------------------------------------

TURN: Any = {"role": "user", "content": ASKED.question, "images": [base64.b64decode(DATA)]}
OPTIONS: Any = {"num_predict": ASKED.max_tokens, "temperature": 0}


def of_lines(replies: list[Any], text: str) -> dict[str, object]:
    return saw(text, replies[-1].prompt_eval_count, replies[-1].eval_count)


def ollama_chat(stream: bool) -> dict[str, object]:
    found = ollama.chat(ASKED.model, [TURN], options=OPTIONS, stream=stream)
    replies = list(found) if stream else [found]
    return of_lines(replies, "".join(reply.message.content for reply in replies))


def ollama_generate() -> dict[str, object]:
    reply = ollama.generate(ASKED.model, ASKED.question, images=TURN["images"], options=OPTIONS)
    return of_lines([reply], reply.response)


def azure_chat() -> dict[str, object]:
    reply = azure.chat.completions.create(
        model=ASKED.model, messages=ASKED.messages(), max_tokens=ASKED.max_tokens, temperature=0
    )
    return saw(reply.choices[0].message.content, reply.usage.prompt_tokens, reply.usage.completion_tokens)


report(
    {
        "message": lambda: of_message(anthropic.messages.create(**LIMITED)),
        "message, streamed": message_stream,
        "message, tool": message_tool,
        "message, tokens": lambda: anthropic.messages.count_tokens(**MESSAGES).input_tokens,
        "message, unknown model": lambda: anthropic.messages.create(**LIMITED | {"model": "nowhere"}),
        "message, wrong key": lambda: Anthropic(base_url=ASKED.url, api_key="wrong").messages.create(**LIMITED),
        "response": lambda: of_response(openai.responses.create(**RESPONSE)),
        "response, streamed": response_stream,
        "response, events": response_events,
        "response, conversation": conversation,
        "response, tool": response_tool,
        "response, unknown model": lambda: openai.responses.create(**RESPONSE | {"model": "nowhere"}),
        "ollama": lambda: ollama_chat(stream=False),
        "ollama, streamed": lambda: ollama_chat(stream=True),
        "ollama, generate": ollama_generate,
        "ollama, models": lambda: [model.model for model in ollama.list().models],
        "ollama, unknown model": lambda: ollama.chat("nowhere", [TURN]),
        "azure": azure_chat,
    }
)

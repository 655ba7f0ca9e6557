"""Bodies of Ollama's API -> requests. Pure functions; the ranges of single fields are in schemas.py."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from foveal.errors import InvalidRequest
from foveal.http.dialects.beginnings import begun
from foveal.http.dialects.grammars import ANY_OBJECT, schema_grammar
from foveal.http.dialects.ollama.schemas import OllamaOptions
from foveal.http.dialects.options import sampling_with
from foveal.http.dialects.tools import check_tools, json_text, offered
from foveal.types import (
    ChatRequest,
    CompletionRequest,
    GenerationOptions,
    ImageRef,
    Message,
    Reasoning,
    ToolCall,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from foveal.config import HttpConfig
    from foveal.http.dialects.ollama.schemas import OllamaBody, OllamaChatBody, OllamaGenerateBody, OllamaMessage
    from foveal.serving.pipeline import ModelCard
    from foveal.types import Grammar

DEFAULT_TAG = ":latest"


def model_name(name: str) -> str:
    """The name that this server has for it: Ollama's clients add a tag."""
    return name.removesuffix(DEFAULT_TAG)


def chat_request(body: OllamaChatBody, card: ModelCard, config: HttpConfig, fresh_seed: int) -> ChatRequest:
    """Raises InvalidRequest with a sentence that names the field."""
    functions = [tool.function for tool in body.tools or ()]
    tools = tuple(offered(each.name, each.description, each.parameters, None, "tools") for each in functions)
    check_tools(tools, "tools")
    messages, is_begun = begun(tuple(_messages(body.messages)))
    return ChatRequest(
        messages,
        _options(body, card, config, fresh_seed),
        tools=tools,
        reasoning=_reasoning(body),
        continues=is_begun and not messages[-1].tool_calls,
    )


def generate_request(
    body: OllamaGenerateBody, card: ModelCard, config: HttpConfig, fresh_seed: int
) -> ChatRequest | CompletionRequest:
    """Raises InvalidRequest with a sentence that names the field."""
    options = _options(body, card, config, fresh_seed)
    if body.raw:
        if body.images or body.system:
            raise InvalidRequest("raw takes a prompt alone: leave out images and system, field: 'raw'", param="raw")
        return CompletionRequest(body.prompt, options=options)
    system = (Message("system", (body.system,)),) if body.system else ()
    user = Message("user", (*_images(body.images, count(1)), body.prompt))
    return ChatRequest((*system, user), options, reasoning=_reasoning(body))


def _messages(messages: Sequence[OllamaMessage]) -> Iterator[Message]:
    """Calls have no ids in older clients: a result belongs to the first call of its tool that has none yet."""
    positions, numbers = count(1), count(1)
    unanswered: list[ToolCall] = []
    for message in messages:
        calls = tuple(
            ToolCall(
                call.id or f"call_{next(numbers)}",
                call.function.name,
                json_text(call.function.arguments, "messages"),
            )
            for call in message.tool_calls or ()
        )
        unanswered += calls
        content = (*_images(message.images, positions), *((message.content,) if message.content else ()))
        name = message.tool_name or message.name
        if message.role == "tool":
            answered = _answered(message, name, unanswered)
            yield Message("tool", content, answered.name, tool_call_id=answered.id)
        else:
            yield Message(message.role, content, name, tool_calls=calls, reasoning=message.thinking or "")


def _answered(message: OllamaMessage, name: str | None, unanswered: list[ToolCall]) -> ToolCall:
    for call in unanswered:
        if message.tool_call_id == call.id or (message.tool_call_id is None and name in (None, call.name)):
            unanswered.remove(call)
            return call
    raise InvalidRequest("A message of a tool answers no call of the assistant, field: 'messages'", param="messages")


def _images(images: Sequence[str] | None, positions: Iterator[int]) -> Iterator[ImageRef]:
    for image in images or ():
        yield ImageRef(image, next(positions))


def _reasoning(body: OllamaBody) -> Reasoning:
    return Reasoning(enabled=body.think) if not isinstance(body.think, str) else Reasoning(True, body.think)


def _options(body: OllamaBody, card: ModelCard, config: HttpConfig, fresh_seed: int) -> GenerationOptions:
    asked = body.options or OllamaOptions.model_validate({})
    max_tokens = asked.num_predict if asked.num_predict is not None and asked.num_predict > 0 else None
    sampling = sampling_with(
        card,
        fresh_seed if asked.seed is None else asked.seed % 2**63,
        max_tokens=max_tokens or config.default_max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        min_p=asked.min_p,
        typical_p=asked.typical_p,
        repetition_penalty=asked.repeat_penalty,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        mirostat_target=(asked.mirostat_tau or 5.0) if asked.mirostat else None,
        mirostat_lr=asked.mirostat_eta,
    )
    return GenerationOptions(
        sampling,
        max_tokens=max_tokens,
        stop=tuple(asked.stop or ()),
        grammar=_grammar(body),
        max_prompt_tokens=card.context_length - 1 if body.truncate else None,
    )


def _grammar(body: OllamaBody) -> Grammar | None:
    if not body.format:
        return None
    return ANY_OBJECT if body.format == "json" else schema_grammar(body.format, "format")

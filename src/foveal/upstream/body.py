"""A checked request -> the body that another server is sent. Pure functions.

Images are bytes by now, so that the other server fetches nothing. Nothing that a client asked for is left out.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import msgspec

from foveal.types import ImageRef
from foveal.upstream.known import KNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.types import (
        ChatRequest,
        CompletionRequest,
        GenerationOptions,
        Grammar,
        Message,
        Tool,
        ToolCall,
        ToolChoice,
    )
    from foveal.upstream.known import Dialect, Known

MAX_SEED = 2**31  # what every server takes
PNG = b"\x89PNG\r\n\x1a\n"


def chat_body(request: ChatRequest, model: str, dialect: Dialect, salt: bytes = b"") -> bytes:
    """The JSON of a chat. `salt`: of its caches. Takes some ms a megabyte of images: call it in a thread."""
    known = KNOWN[dialect]
    body: dict[str, object] = {
        **_common(request.options, model, known, salt),
        **_prompt(request, known),
        **(_tool_choice(request.tool_choice) if request.tools else {}),
    }
    if request.options.sampling.num_logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": request.options.sampling.num_logprobs}
    if request.reasoning.effort:
        body["reasoning_effort"] = request.reasoning.effort
    return msgspec.json.encode(body)


def completion_body(request: CompletionRequest, model: str, dialect: Dialect, salt: bytes = b"") -> bytes:
    """The JSON of a completion."""
    return msgspec.json.encode({**_common(request.options, model, KNOWN[dialect], salt), "prompt": request.prompt})


def prompt_body(request: ChatRequest, model: str, dialect: Dialect) -> bytes:
    """The JSON of what a chat's prompt is made from."""
    return msgspec.json.encode({"model": model, **_prompt(request, KNOWN[dialect])})


def _common(options: GenerationOptions, model: str, known: Known, salt: bytes) -> dict[str, object]:
    asked = {"model": model, "stream": True, "stream_options": known.stream_options, **known.always}
    return asked | _options(options, known) | _caching(options, known, salt)


# --- the prompt ------------------------------------------------------------------------------------------------------


def _prompt(request: ChatRequest, known: Known) -> dict[str, object]:
    """All that the other server's template shows the model."""
    body: dict[str, object] = {"messages": [_message(message, known) for message in request.messages]}
    if request.tools:
        body["tools"] = [_tool(tool) for tool in _offered(request.tools, request.tool_choice)]
    if request.continues:
        body.update(known.continues or {})
    options, is_thinking = dict(request.template_options), request.reasoning.enabled
    if is_thinking is not None:
        options.setdefault("enable_thinking", is_thinking)
    return {**body, "chat_template_kwargs": options} if options else body


def _message(message: Message, known: Known) -> dict[str, object]:
    written: dict[str, object] = {"role": message.role, "content": _content(message.content)}
    if message.name:
        written["name"] = message.name
    if message.tool_calls:
        written["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.tool_call_id:
        written["tool_call_id"] = message.tool_call_id
    if message.reasoning and known.has_reasoning:
        written["reasoning_content"] = message.reasoning
    return written


def _content(content: Sequence[str | ImageRef]) -> object:
    """Text alone as text, since templates of text models want it so."""
    match content:
        case []:
            return None
        case [str(text)]:
            return text
    return [{"type": "text", "text": part} if isinstance(part, str) else _image(part) for part in content]


def _image(ref: ImageRef) -> dict[str, object]:
    assert isinstance(ref.source, bytes), "the other server would fetch it"
    kind = "png" if ref.source.startswith(PNG) else "jpeg"
    image: dict[str, object] = {"url": f"data:image/{kind};base64,{base64.b64encode(ref.source).decode()}"}
    if ref.detail != "auto":
        image["detail"] = ref.detail
    return {"type": "image_url", "image_url": image}


def _call(call: ToolCall) -> dict[str, object]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _offered(tools: Sequence[Tool], choice: ToolChoice) -> list[Tool]:
    """A choice among several tools leaves out the others, since few servers know one."""
    return [tool for tool in tools if _is_of_one(choice) or not choice.names or tool.name in choice.names]


def _is_of_one(choice: ToolChoice) -> bool:
    return choice.mode == "required" and len(choice.names) == 1


def _tool(tool: Tool) -> dict[str, object]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": msgspec.Raw(tool.parameters.encode()),
    }
    return {"type": "function", "function": {**function, "strict": True} if tool.is_strict else function}


# --- options ----------------------------------------------------------------------------------------------------------


def _options(options: GenerationOptions, known: Known) -> dict[str, object]:
    sampling = options.sampling
    body: dict[str, object] = {theirs: getattr(sampling, ours) for ours, theirs in known.sampling.items()}
    body["seed"] = sampling.seed % MAX_SEED
    if "top_k" in body and not sampling.top_k:
        body["top_k"] = known.top_k_off
    if options.num_choices > 1:
        body["n"] = options.num_choices
    if options.stop:
        body["stop"] = options.stop
    if sampling.logit_bias:
        body["logit_bias"] = {str(token_id): bias for token_id, bias in sampling.logit_bias}
    if sampling.mirostat_target is not None and known.mirostat is not None:
        body.update(known.mirostat(sampling.mirostat_target, sampling.mirostat_lr))
    if options.grammar is not None:
        body.update(_format(options.grammar, known))
    return body


def _format(grammar: Grammar, known: Known) -> dict[str, object]:
    if grammar.kind == "grammar" and known.grammar is not None:
        return dict(known.grammar(grammar.text))
    schema = {"name": "answer", "schema": msgspec.Raw(grammar.text.encode()), "strict": grammar.is_strict}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _caching(options: GenerationOptions, known: Known, salt: bytes) -> dict[str, object]:
    if salt and known.salt is not None:
        return dict(known.salt(salt))
    return dict(known.no_cache) if options.max_cached_tokens == 0 and known.no_cache else {}


def _tool_choice(choice: ToolChoice) -> dict[str, object]:
    one = {"type": "function", "function": {"name": choice.names[0]}} if _is_of_one(choice) else None
    body: dict[str, object] = {"tool_choice": one or choice.mode}
    return body if choice.parallel else {**body, "parallel_tool_calls": False}

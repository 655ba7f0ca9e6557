"""Bodies of the Responses API -> requests. Pure functions; the ranges of single fields are in schemas.py."""

from __future__ import annotations

from dataclasses import replace
from itertools import count, groupby
from typing import TYPE_CHECKING

from foveal.errors import InvalidRequest
from foveal.http.dialects.grammars import ANY_OBJECT, schema_grammar
from foveal.http.dialects.options import page_range, sampling_with
from foveal.http.dialects.responses.schemas import (
    CallOutputItem,
    CustomCallItem,
    FunctionCallItem,
    InputFile,
    InputImage,
    MessageItem,
    ObjectFormat,
    ReasoningItem,
    Refusal,
    ResponsesBody,
    SchemaFormat,
)
from foveal.http.dialects.responses.tool_schemas import AllowedClientTools
from foveal.http.dialects.responses.tools import as_arguments, name_in, offer
from foveal.http.dialects.tools import check_choice, check_results, json_text
from foveal.types import (
    ChatRequest,
    File,
    GenerationOptions,
    ImageRef,
    Message,
    Reasoning,
    Tool,
    ToolCall,
    ToolChoice,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from foveal.config import HttpConfig
    from foveal.http.dialects.responses.schemas import InputTokensBody, Item, MessagePart
    from foveal.serving.pipeline import ModelCard
    from foveal.types import Detail, Grammar, Role

DETAILS: Mapping[str, Detail] = {"auto": "auto", "low": "low", "high": "high", "original": "high"}
EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
ROLES: Mapping[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
LOGPROBS = "message.output_text.logprobs"
PARAGRAPH = "\n\n"  # between neighbouring system messages, which become one


def items_of(body: InputTokensBody) -> Sequence[Item]:
    """The input as items."""
    return [MessageItem(role="user", content=body.input)] if isinstance(body.input, str) else body.input


def chat_request(
    body: InputTokensBody, items: Sequence[Item], card: ModelCard, config: HttpConfig, fresh_seed: int
) -> ChatRequest:
    """`items`: the whole conversation, without references. `fresh_seed`: draws the answer.

    Raises InvalidRequest with a sentence that names the field.
    """
    instructions = [Message("system", (body.instructions,))] if body.instructions else []
    messages = tuple(_joined([*instructions, *_messages(items)]))
    if not messages:
        raise InvalidRequest("There is nothing to answer: input has no items, field: 'input'", param="input")
    check_results(messages, "input")
    offered = offer(body.tools or ())
    return ChatRequest(
        messages,
        _options(body, card, config, fresh_seed),
        tools=offered.tools,
        tool_choice=_tool_choice(body, offered.tools),
        reasoning=_reasoning(body),
        warnings=offered.warnings,
    )


# --- items ------------------------------------------------------------------------------------------------------------


def _messages(items: Sequence[Item]) -> Iterator[Message]:
    """One message for each item. Images are numbered over the whole conversation."""
    positions = count(1)
    names: dict[str, str] = {}  # by call
    for item in items:
        match item:
            case MessageItem():
                yield Message(ROLES[item.role], tuple(_content(item.content, positions)))
            case FunctionCallItem() | CustomCallItem():
                call = _call(item)
                names[call.id] = call.name
                yield Message("assistant", (), tool_calls=(call,))
            case CallOutputItem():
                content = tuple(_content(item.output, positions))
                yield Message("tool", content, name=names.get(item.call_id), tool_call_id=item.call_id)
            case ReasoningItem():
                texts = item.content if item.content is not None else item.summary
                yield Message("assistant", (), reasoning="".join(part.text for part in texts))


def _call(item: FunctionCallItem | CustomCallItem) -> ToolCall:
    name = name_in(item.namespace, item.name)
    if isinstance(item, FunctionCallItem):
        return ToolCall(item.call_id, name, item.arguments)
    return ToolCall(item.call_id, name, json_text(as_arguments(item.input), "input"))


def _content(content: str | Sequence[MessagePart], positions: Iterator[int]) -> Iterator[str | ImageRef]:
    if isinstance(content, str):
        yield content
        return
    for part in content:
        if isinstance(part, InputImage):
            yield ImageRef(part.image_url, next(positions), part.max_soft_tokens or DETAILS[part.detail or "auto"])
        elif isinstance(part, InputFile):
            yield _file(part, next(positions))
        else:
            yield part.refusal if isinstance(part, Refusal) else part.text


def _file(part: InputFile, position: int) -> ImageRef:
    source = part.file_data or part.file_url
    if source is None or (part.file_data and part.file_url):
        raise InvalidRequest("An input_file has file_data or file_url, field: 'input'", param="input")
    return ImageRef(source, position, part.detail or "auto", file=File(part.filename or "", page_range(part.pages)))


def _joined(messages: Iterable[Message]) -> Iterator[Message]:
    """What the assistant thought, said and called in one turn as one message; neighbouring system messages as one."""
    for role, group in groupby(messages, key=lambda message: message.role):
        same = list(group)
        if role == "assistant":
            yield Message(
                role,
                tuple(part for message in same for part in message.content),
                tool_calls=tuple(call for message in same for call in message.tool_calls),
                reasoning="".join(message.reasoning for message in same),
            )
        elif role == "system" and all(isinstance(part, str) for message in same for part in message.content):
            yield Message(role, (PARAGRAPH.join("".join(map(str, message.content)) for message in same),))
        else:
            yield from same


# --- settings ---------------------------------------------------------------------------------------------------------


def _tool_choice(body: InputTokensBody, tools: Sequence[Tool]) -> ToolChoice:
    asked, parallel = body.tool_choice, body.parallel_tool_calls is not False
    if asked is None or isinstance(asked, str):
        choice = ToolChoice(asked or "auto", parallel=parallel)
    elif isinstance(asked, AllowedClientTools):
        choice = ToolChoice(asked.mode, tuple(tool.name for tool in asked.tools), parallel)
    else:
        choice = ToolChoice("required", (asked.name,), parallel)
    check_choice(choice, tools, "tool_choice")
    return choice


def _reasoning(body: InputTokensBody) -> Reasoning:
    effort = body.reasoning.effort if body.reasoning else None
    return Reasoning(enabled=False) if effort == "none" else Reasoning(effort=EFFORTS[effort] if effort else None)


def _options(body: InputTokensBody, card: ModelCard, config: HttpConfig, fresh_seed: int) -> GenerationOptions:
    options = GenerationOptions(sampling_with(card, fresh_seed, max_tokens=1), grammar=_grammar(body))
    max_tokens = None
    if isinstance(body, ResponsesBody):
        max_tokens = body.max_output_tokens
        sampling = sampling_with(
            card,
            fresh_seed,
            max_tokens=max_tokens or config.default_max_tokens,
            temperature=body.temperature,
            top_p=body.top_p,
            num_logprobs=_num_logprobs(body),
        )
        options = replace(options, sampling=sampling, max_tokens=max_tokens)
    if body.truncation == "auto":
        room = min(max_tokens or 1, card.context_length // 2)
        return replace(options, max_prompt_tokens=card.context_length - room)
    return options


def _num_logprobs(body: ResponsesBody) -> int | None:
    return body.top_logprobs or 0 if body.top_logprobs or LOGPROBS in (body.include or ()) else None


def _grammar(body: InputTokensBody) -> Grammar | None:
    asked = body.text.format if body.text else None
    if isinstance(asked, SchemaFormat):
        return schema_grammar(asked.schema_, "text.format.schema")
    return ANY_OBJECT if isinstance(asked, ObjectFormat) else None

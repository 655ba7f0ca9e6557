"""Bodies of the Messages API -> requests. Pure functions; the ranges of single fields are in schemas.py."""

from __future__ import annotations

from itertools import count, groupby
from typing import TYPE_CHECKING, Literal

from foveal.errors import InvalidRequest
from foveal.http.dialects.anthropic.schemas import (
    Base64Source,
    ContentSource,
    DocumentBlock,
    ImageBlock,
    MessagesBody,
    MessagesServerTool,
    PlainTextSource,
    RedactedThinkingBlock,
    SearchResultBlock,
    TextBlock,
    ThinkingBlock,
    ToolDefinition,
    ToolResultBlock,
    ToolUseBlock,
)
from foveal.http.dialects.beginnings import begun
from foveal.http.dialects.grammars import schema_grammar
from foveal.http.dialects.options import page_range, sampling_with
from foveal.http.dialects.tools import check_choice, check_results, check_tools, json_text, offered, without_the_servers
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

    from foveal.http.dialects.anthropic.schemas import (
        CountTokensBody,
        TurnMessage,
        UrlSource,
    )
    from foveal.serving.pipeline import ModelCard
    from foveal.types import Grammar

Part = str | ImageRef

EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
MODES: Mapping[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "any": "required",
    "tool": "required",
    "none": "none",
}
PARAGRAPH = "\n\n"  # between the texts of one system prompt


def chat_request(body: CountTokensBody, card: ModelCard, fresh_seed: int) -> ChatRequest:
    """`fresh_seed`: draws answers. Raises InvalidRequest with a sentence that names the field."""
    positions = count(1)
    messages = [*_system(body), *(each for turn in body.messages for each in _messages(turn, positions))]
    joined = tuple(_joined(messages))
    check_results(joined, "messages")
    joined, continues = begun(joined)
    if continues:
        _check_beginning(joined[-1], body)
    specs = body.tools or ()
    tools = tuple(_tool(spec) for spec in specs if isinstance(spec, ToolDefinition))
    check_tools(tools, "tools")
    left_out = [spec.type for spec in specs if isinstance(spec, MessagesServerTool)]
    return ChatRequest(
        joined,
        _options(body, card, fresh_seed),
        tools=tools,
        tool_choice=_tool_choice(body, tools),
        reasoning=_reasoning(body),
        warnings=without_the_servers(left_out, tools, "tools"),
        continues=continues,
    )


# --- messages ---------------------------------------------------------------------------------------------------------


def _system(body: CountTokensBody) -> Iterator[Message]:
    if body.system is None:
        return
    text = body.system if isinstance(body.system, str) else PARAGRAPH.join(block.text for block in body.system)
    if text:
        yield Message("system", (text,))


def _messages(turn: TurnMessage, positions: Iterator[int]) -> Iterator[Message]:
    """One turn. The results of tools in a user's turn are messages of their own. `positions` numbers the images."""
    if isinstance(turn.content, str):
        yield Message(turn.role, (turn.content,))
        return
    if turn.role == "user" and not turn.content:
        raise InvalidRequest("A message of the user needs content, field: 'messages'", param="messages")
    if turn.role == "assistant":
        yield _assistant_message(turn.content)
        return
    for is_result, blocks in groupby(turn.content, key=lambda block: isinstance(block, ToolResultBlock)):
        if is_result:
            yield from (_result(block, positions) for block in blocks if isinstance(block, ToolResultBlock))
        else:
            yield Message(turn.role, tuple(_parts(blocks, positions, turn.role)))


def _assistant_message(blocks: Sequence[object]) -> Message:
    texts = [block.text for block in blocks if isinstance(block, TextBlock)]
    calls = [block for block in blocks if isinstance(block, ToolUseBlock)]
    thoughts = [block.thinking for block in blocks if isinstance(block, ThinkingBlock)]
    known = (TextBlock, ToolUseBlock, ThinkingBlock, RedactedThinkingBlock)
    if not all(isinstance(block, known) for block in blocks):
        raise InvalidRequest("A message of the assistant holds text, thinking and tool_use, field: 'messages'")
    return Message(
        "assistant",
        tuple(texts),
        tool_calls=tuple(ToolCall(call.id, call.name, json_text(call.input, "messages")) for call in calls),
        reasoning="".join(thoughts),
    )


def _result(block: ToolResultBlock, positions: Iterator[int]) -> Message:
    content = [block.content] if isinstance(block.content, str) else _parts(block.content or (), positions, "tool")
    failure = ("Error: ",) if block.is_error else ()
    return Message("tool", (*failure, *content), tool_call_id=block.tool_use_id)


def _parts(blocks: Iterable[object], positions: Iterator[int], role: str) -> Iterator[Part]:
    for block in blocks:
        match block:
            case TextBlock():
                yield block.text
            case SearchResultBlock():
                yield PARAGRAPH.join([f"{block.title}\n{block.source}", *(part.text for part in block.content)])
            case ImageBlock():
                yield ImageRef(_source(block.source), next(positions))
            case DocumentBlock():
                yield from _document(block, positions, role)
            case _:
                raise InvalidRequest(f"A message of the {role} has no place for this block, field: 'messages'")


def _document(block: DocumentBlock, positions: Iterator[int], role: str) -> Iterator[Part]:
    if heading := "\n".join(filter(None, (block.title, block.context))):
        yield heading + PARAGRAPH
    match block.source:
        case PlainTextSource():
            yield block.source.data + PARAGRAPH
        case ContentSource(content=str(text)):
            yield text + PARAGRAPH
        case ContentSource():
            yield from _parts(block.source.content, positions, role)
        case _:
            yield ImageRef(_source(block.source), next(positions), file=File(pages=page_range(block.pages)))


def _source(source: Base64Source | UrlSource) -> str:
    return f"data:{source.media_type};base64,{source.data}" if isinstance(source, Base64Source) else source.url


def _joined(messages: Sequence[Message]) -> Iterator[Message]:
    """Neighbouring turns of one role as one, which is what the API makes of them. Results of tools stay apart."""
    for role, group in groupby(messages, key=lambda message: message.role):
        same = list(group)
        if role == "tool" or len(same) == 1:
            yield from same
        else:
            yield Message(
                role,
                tuple(part for message in same for part in message.content),
                tool_calls=tuple(call for message in same for call in message.tool_calls),
                reasoning="".join(message.reasoning for message in same),
            )


def _check_beginning(message: Message, body: CountTokensBody) -> None:
    """An answer that the last message has begun. Raises InvalidRequest for what cannot go on from it."""
    problem = None
    if message.tool_calls:
        problem = "The last message calls a tool: send the result of the call"
    elif str(message.content[-1]).rstrip() != message.content[-1]:
        problem = "The last message ends with white space, which belongs to the answer: leave it out"
    elif _grammar(body) is not None:
        problem = "The answer cannot both be JSON as a whole and go on from the last message: leave out either"
    elif body.thinking is not None and body.thinking.type == "enabled":
        problem = "The last message has begun the answer, before which thinking stands: leave out either"
    if problem is not None:
        raise InvalidRequest(f"{problem}, field: 'messages'", param="messages")


# --- settings ---------------------------------------------------------------------------------------------------------


def _tool(tool: ToolDefinition) -> Tool:
    return offered(tool.name, tool.description, tool.input_schema, tool.strict, "tools")


def _tool_choice(body: CountTokensBody, tools: Sequence[Tool]) -> ToolChoice:
    asked = body.tool_choice
    if asked is None:
        return ToolChoice()
    if (asked.type == "tool") != (asked.name is not None):
        raise InvalidRequest("tool_choice has a name with the type tool, field: 'tool_choice.name'")
    names = (asked.name,) if asked.name else ()
    choice = ToolChoice(MODES[asked.type], names, not asked.disable_parallel_tool_use)
    check_choice(choice, tools, "tool_choice")
    return choice


def _reasoning(body: CountTokensBody) -> Reasoning:
    asked = body.thinking
    effort = body.output_config.effort if body.output_config else None
    enabled = {"enabled": True, "disabled": False}.get(asked.type) if asked else None
    budget = asked.budget_tokens if asked and asked.type == "enabled" else None
    return Reasoning(enabled, EFFORTS[effort] if effort else None, budget)


def _options(body: CountTokensBody, card: ModelCard, fresh_seed: int) -> GenerationOptions:
    if not isinstance(body, MessagesBody):
        return GenerationOptions(sampling_with(card, fresh_seed, max_tokens=1), grammar=_grammar(body))
    sampling = sampling_with(
        card,
        fresh_seed,
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
    )
    return GenerationOptions(
        sampling, max_tokens=body.max_tokens, stop=tuple(body.stop_sequences or ()), grammar=_grammar(body)
    )


def _grammar(body: CountTokensBody) -> Grammar | None:
    in_config = body.output_config.format if body.output_config else None
    asked = in_config or body.output_format
    return None if asked is None else schema_grammar(asked.schema_, "output_config.format")

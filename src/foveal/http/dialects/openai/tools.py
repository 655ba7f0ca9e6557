"""Tools, calls and reasoning of a body -> their records. The older `functions` become tools."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from foveal.errors import InvalidRequest
from foveal.http.dialects.openai.tool_schemas import AllowedTools, NamedTool
from foveal.http.dialects.tools import check_choice, check_tools, json_text, offered
from foveal.types import Reasoning, Tool, ToolCall, ToolChoice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from foveal.http.dialects.openai.schemas import ChatBody, ChatMessage
    from foveal.http.dialects.openai.tool_schemas import CalledFunction, FunctionSpec

FUNCTION_CALL = "call_function"  # ids of the older form's calls begin with it
OF_THE_SERVER = {"messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token", "num_images"}
MODES: Mapping[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "any": "required",
}
WORD = re.compile(r"[A-Za-z0-9_-]{0,64}")


def tools_of(body: ChatBody) -> tuple[Tool, ...]:
    """Raises InvalidRequest."""
    if body.tools and body.functions:
        raise InvalidRequest("tools and functions are the same: send tools, field: 'functions'", "functions")
    field = "functions" if body.functions else "tools"
    tools = tuple(_tool(function, field) for function in body.functions or [tool.function for tool in body.tools or ()])
    check_tools(tools, field)
    return tools


def choice_of(body: ChatBody, tools: Sequence[Tool]) -> ToolChoice:
    """Raises InvalidRequest for a tool that is not among the tools."""
    field = "function_call" if body.functions else "tool_choice"
    asked = body.function_call if body.functions else body.tool_choice
    parallel = body.parallel_tool_calls is not False and not body.functions
    if asked is None or isinstance(asked, str):
        choice = ToolChoice(MODES[asked or "auto"], parallel=parallel)
    elif isinstance(asked, AllowedTools):
        names = tuple(tool.function.name for tool in asked.allowed_tools.tools)
        choice = ToolChoice(asked.allowed_tools.mode, names, parallel)
    else:
        name = asked.function.name if isinstance(asked, NamedTool) else asked.name
        choice = ToolChoice("required", (name,), parallel=False)
    check_choice(choice, tools, field)
    return choice


def reasoning_of(body: ChatBody) -> Reasoning:
    asked, thinking = body.reasoning, body.thinking
    effort = body.reasoning_effort or (asked.effort if asked else None)
    enabled = body.enable_thinking
    if enabled is None and thinking:
        enabled = thinking.type == "enabled"
    if enabled is None and asked:
        enabled = asked.enabled
    if enabled is None and effort is not None:
        enabled = False if effort == "none" else None
    limit = thinking.budget_tokens if thinking else asked.max_tokens if asked else None
    return Reasoning(enabled, None if effort == "none" else effort, limit)


def template_options(body: ChatBody) -> dict[str, object]:
    """Raises InvalidRequest for what is no variable of a client. No text of a client may reach a template."""
    options = body.chat_template_kwargs or {}
    for name, value in options.items():
        is_plain = isinstance(value, bool | int | float) or (isinstance(value, str) and WORD.fullmatch(value))
        if name in OF_THE_SERVER or not name.isidentifier() or not is_plain:
            raise InvalidRequest(
                f"chat_template_kwargs takes numbers, true, false and single words, and {name[:64]!r} is not one that "
                "a client may set, field: 'chat_template_kwargs'",
                "chat_template_kwargs",
            )
    return dict(options)


def calls_of(message: ChatMessage, where: str) -> tuple[ToolCall, ...]:
    """The calls that an assistant's message has. Raises InvalidRequest."""
    calls = [
        _call(part.function, part.id or "", f"{where}.tool_calls.{i}")
        for i, part in enumerate(message.tool_calls or ())
    ]
    if message.function_call:
        function = message.function_call
        calls.append(_call(function, FUNCTION_CALL + function.name, f"{where}.function_call"))
    return tuple(calls)


def result_id(message: ChatMessage, where: str) -> str | None:
    """The call that a message is the result of. Raises InvalidRequest where it names none."""
    if message.role == "function":
        return FUNCTION_CALL + (message.name or "")
    if message.role == "tool" and not message.tool_call_id:
        raise InvalidRequest(
            f"A tool's message names the call that it is the result of, field: '{where}.tool_call_id'",
            f"{where}.tool_call_id",
        )
    return message.tool_call_id


def _tool(function: FunctionSpec, field: str) -> Tool:
    return offered(function.name, function.description, function.parameters, function.strict, field)


def _call(function: CalledFunction, call_id: str, where: str) -> ToolCall:
    arguments = function.arguments
    return ToolCall(call_id, function.name, arguments if isinstance(arguments, str) else json_text(arguments, where))

"""Bodies and headers of two coding agents, in the shape that their sources give them: they are taken as they come.

Claude Code speaks Messages, Codex speaks Responses.
"""

from __future__ import annotations

from typing import Any

import pytest

from foveal.config import HttpConfig
from foveal.types import ChatRequest, ImageRef, Message, Reasoning, ToolChoice
from tests.fakes import FakePipeline
from tests.http.client import call, named_events

CACHED = {"cache_control": {"type": "ephemeral"}}
READ: dict[str, Any] = {"type": "object", "properties": {"file_path": {"type": "string"}}, "required": ["file_path"]}
CLAUDE_CODE: dict[str, Any] = {
    "model": "foveal-mini",
    "max_tokens": 32000,
    "system": [
        {"type": "text", "text": "You are Claude Code, Anthropic's official CLI for Claude.", **CACHED},
        {"type": "text", "text": "Use the tools.", **CACHED},
    ],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>\nBe brief.\n</system-reminder>"},
                {"type": "text", "text": "What does shot.png show?", **CACHED},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I read it.", "signature": "EqQBCg"},
                {"type": "tool_use", "id": "toolu_01", "name": "Read", "input": {"file_path": "shot.png"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_01",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
                    ],
                    **CACHED,
                }
            ],
        },
    ],
    "tools": [{"name": "Read", "description": "Reads a file.", "input_schema": READ, **CACHED}],
    "metadata": {"user_id": "user_0_account__session_0"},
    "thinking": {"type": "enabled", "budget_tokens": 31999},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "temperature": 1,
    "stream": True,
}
CLAUDE_CODE_HEADERS = {
    "authorization": "Bearer secret",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
    "anthropic-dangerous-direct-browser-access": "true",
    "x-app": "cli",
}
CODEX: dict[str, Any] = {
    "model": "foveal-mini",
    "instructions": "You are a coding agent running in the Codex CLI.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Sandboxed."}]},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What does it show?"},
                {"type": "input_image", "image_url": "data:image/png;base64,QUJD"},
            ],
        },
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "gAAAA"},
        {"type": "function_call", "name": "shell", "arguments": '{"command":["ls"]}', "call_id": "call_1"},
        {"type": "function_call_output", "call_id": "call_1", "output": "shot.png"},
    ],
    "tools": [
        {
            "type": "function",
            "name": "shell",
            "description": "Runs a command.",
            "strict": False,
            "parameters": {
                "type": "object",
                "properties": {"command": {"type": "array", "items": {"type": "string"}}},
                "required": ["command"],
                "additionalProperties": False,
            },
        }
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0198",
}
CODEX_HEADERS = {
    "authorization": "Bearer secret",
    "accept": "text/event-stream",
    "originator": "codex_cli_rs",
    "session_id": "0198",
}


def asked(path: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[ChatRequest, list[str]]:
    """What was asked of the model, and the names of the events."""
    pipeline = FakePipeline()
    response = call("POST", path, pipeline, HttpConfig(api_keys=("secret",)), json=body, headers=headers)
    assert response.status_code == 200, response.text
    (request,) = pipeline.requests
    assert isinstance(request, ChatRequest)
    return request, [name for name, _ in named_events(response)]


def test_claude_code() -> None:
    request, events = asked("/v1/messages?beta=true", CLAUDE_CODE, CLAUDE_CODE_HEADERS)
    system, user, assistant, result = request.messages
    assert system == Message("system", ("You are Claude Code, Anthropic's official CLI for Claude.\n\nUse the tools.",))
    assert len(user.content) == 2
    assert (assistant.reasoning, assistant.tool_calls[0].arguments) == ("I read it.", '{"file_path": "shot.png"}')
    assert result == Message("tool", (ImageRef("data:image/png;base64,QUJD", 1),), tool_call_id="toolu_01")
    assert [tool.name for tool in request.tools] == ["Read"]
    assert request.reasoning == Reasoning(True, None, 31999)
    assert (events[0], events[-1]) == ("message_start", "message_stop")


def test_claude_code_counts_tokens() -> None:
    fields = ("model", "system", "messages", "tools", "thinking")
    body = {name: CLAUDE_CODE[name] for name in fields}
    assert call("POST", "/v1/messages/count_tokens?beta=true", json=body).json() == {"input_tokens": 3}


def test_codex() -> None:
    request, events = asked("/v1/responses", CODEX, CODEX_HEADERS)
    system, user, assistant, result = request.messages
    assert system == Message("system", ("You are a coding agent running in the Codex CLI.\n\nSandboxed.",))
    assert user == Message("user", ("What does it show?", ImageRef("data:image/png;base64,QUJD", 1)))
    assert assistant.tool_calls[0].name == "shell"
    assert result == Message("tool", ("shot.png",), name="shell", tool_call_id="call_1")
    assert request.tool_choice == ToolChoice("auto", parallel=False)
    assert request.reasoning == Reasoning(effort="medium")
    assert (events[0], events[-1]) == ("response.created", "response.completed")


@pytest.mark.parametrize("tool", [{"type": "web_search"}, {"type": "custom", "name": "apply_patch"}])
def test_tools_of_another_kind_are_refused_by_their_place(tool: dict[str, Any]) -> None:
    response = call("POST", "/v1/responses", json=CODEX | {"tools": [*CODEX["tools"], tool]})
    assert response.status_code == 400
    assert "tools.1.type" in response.json()["error"]["message"]

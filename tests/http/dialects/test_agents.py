"""Bodies and headers of two coding agents, in the shape that their sources give them: they are taken as they come.

Claude Code speaks Messages, Codex speaks Responses.
"""

from __future__ import annotations

from typing import Any

import pytest

from foveal.config import HttpConfig
from foveal.types import ChatRequest, Delta, ImageRef, Message, Reasoning, ToolCall, ToolCallDelta, ToolChoice
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


APPLY_PATCH: dict[str, Any] = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin Patch" /(.|\\n)+/'},
}
NAMESPACE: dict[str, Any] = {
    "type": "namespace",
    "name": "mcp__notes__",
    "description": "Tools in the mcp__notes__ namespace.",
    "tools": [
        {
            "type": "function",
            "name": "find",
            "description": "Finds a note.",
            "strict": False,
            "defer_loading": True,
            "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
        }
    ],
}
WEB_SEARCH: dict[str, Any] = {
    "type": "web_search",
    "external_web_access": False,
    "user_location": {"type": "approximate", "country": "DE"},
    "search_context_size": "medium",
    "search_content_types": ["text", "image"],
}
TOOL_SEARCH: dict[str, Any] = {
    "type": "tool_search",
    "execution": "client",
    "description": "Searches tools.",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
}
IMAGE_GENERATION = {"type": "image_generation", "output_format": "png"}
ALL_TOOLS = [*CODEX["tools"], APPLY_PATCH, NAMESPACE, WEB_SEARCH, TOOL_SEARCH, IMAGE_GENERATION]


def test_codex_with_all_its_kinds_of_tools() -> None:
    pipeline = FakePipeline()
    response = call("POST", "/v1/responses", pipeline, json=CODEX | {"tools": ALL_TOOLS})
    (request,) = pipeline.requests
    assert isinstance(request, ChatRequest)
    assert response.status_code == 200, response.text
    assert [tool.name for tool in request.tools] == ["shell", "apply_patch", "mcp__notes__.find"]
    assert "*** Begin Patch" in request.tools[1].description
    searches = (
        "This server runs no tools itself: web_search, tool_search, image_generation is not offered to the model."
    )
    assert request.warnings == (searches, "The grammars of custom tools are shown to the model, and not enforced.")


def test_codex_gets_a_patch_as_text_and_the_namespace_of_a_call() -> None:
    script = (
        Delta(0, tool_calls=(ToolCallDelta(0, "call_1", "apply_patch", '{"input": "*** Begin'),)),
        Delta(0, tool_calls=(ToolCallDelta(0, arguments=' \\"Patch\\"\\n"}', is_last=True),)),
        Delta(0, tool_calls=(ToolCallDelta(1, "call_2", "mcp__notes__.find", '{"text": "a"}', is_last=True),)),
        Delta(0, finish_reason="tool_calls"),
    )
    response = call("POST", "/v1/responses", FakePipeline(script), json=CODEX | {"tools": ALL_TOOLS})
    events = named_events(response)
    patch, found = events[-1][1]["response"]["output"]
    assert (patch["type"], patch["name"], patch["input"]) == ("custom_tool_call", "apply_patch", '*** Begin "Patch"\n')
    assert (found["type"], found["namespace"], found["name"]) == ("function_call", "mcp__notes__", "find")
    assert [name for name, payload in events if payload.get("item_id") == patch["id"]] == [
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
    ]
    assert [payload["item"] for name, payload in events if name == "response.output_item.done"] == [patch, found]


@pytest.mark.parametrize("arguments", ["[1]", '"x"', "7", '{"input": ' + "[" * 5000])
def test_a_patch_without_an_object_is_empty(arguments: str) -> None:
    script = (
        Delta(0, tool_calls=(ToolCallDelta(0, "call_1", "apply_patch", arguments, is_last=True),)),
        Delta(0, finish_reason="tool_calls"),
    )
    response = call("POST", "/v1/responses", FakePipeline(script), json=CODEX | {"tools": ALL_TOOLS})
    name, last = named_events(response)[-1]
    assert (name, last["response"]["output"][0]["input"]) == ("response.completed", "")


def test_codex_sends_a_patch_and_a_call_of_a_namespace_back() -> None:
    patch = {
        "type": "custom_tool_call",
        "status": "completed",
        "call_id": "call_1",
        "name": "apply_patch",
        "input": "x",
    }
    done = {"type": "custom_tool_call_output", "call_id": "call_1", "name": "apply_patch", "output": "Done"}
    found = {
        "type": "function_call",
        "call_id": "call_2",
        "namespace": "mcp__notes__",
        "name": "find",
        "arguments": "{}",
    }
    body = CODEX | {"tools": ALL_TOOLS, "input": [*CODEX["input"], patch, done, found]}
    request, _ = asked("/v1/responses", body, CODEX_HEADERS)
    patched, result, last = request.messages[-3:]
    assert patched.tool_calls == (ToolCall("call_1", "apply_patch", '{"input": "x"}'),)
    assert result == Message("tool", ("Done",), name="apply_patch", tool_call_id="call_1")
    assert last.tool_calls[0].name == "mcp__notes__.find"


@pytest.mark.parametrize(
    ("path", "body", "tool", "field"),
    [
        ("/v1/responses", CODEX, {"type": "local_shell"}, "tools.1"),
        ("/v1/responses", CODEX, {"type": "mcp", "server_label": "a", "server_url": "https://a"}, "tools.1"),
        ("/v1/messages", CLAUDE_CODE, {"type": "bash_20250124", "name": "bash"}, "tools.1"),
    ],
)
def test_tools_of_a_fixed_form_are_refused_in_words(
    path: str, body: dict[str, Any], tool: dict[str, Any], field: str
) -> None:
    response = call("POST", path, json=body | {"tools": [*body["tools"], tool]})
    assert response.status_code == 400
    assert "There are no such tools here. Offer" in response.json()["error"]["message"]
    assert field in response.json()["error"]["message"]


CLAUDE_CODE_SEARCH: dict[str, Any] = {
    "model": "foveal-mini",
    "max_tokens": 32000,
    "system": [{"type": "text", "text": "You are an assistant for performing a web search tool use"}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Perform a web search for the query: a"}]}],
    "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
    "stream": True,
}


def test_a_search_that_claude_code_asks_of_the_server_is_refused_in_words() -> None:
    response = call("POST", "/v1/messages", json=CLAUDE_CODE_SEARCH)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(
        "This server runs no tools itself, such as web_search_20250305: offer one that your client runs"
    )


def test_a_search_beside_tools_of_the_client_is_left_out() -> None:
    body = CLAUDE_CODE | {"tools": [*CLAUDE_CODE["tools"], *CLAUDE_CODE_SEARCH["tools"]]}
    request, _ = asked("/v1/messages", body, CLAUDE_CODE_HEADERS)
    assert [tool.name for tool in request.tools] == ["Read"]
    assert "web_search_20250305" in request.warnings[0]

"""The bodies and lines that clients of Ollama's API get."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict


class CallReply(TypedDict):
    id: str
    function: dict[str, Any]


class OllamaAnswer(TypedDict):
    role: Literal["assistant"]
    content: str
    thinking: NotRequired[str]
    tool_calls: NotRequired[list[CallReply]]


class OllamaEnd(TypedDict, total=False):
    """What the last line has besides. Durations are in nanoseconds."""

    done_reason: str
    total_duration: int
    load_duration: int
    prompt_eval_count: int
    prompt_eval_duration: int
    eval_count: int
    eval_duration: int


class OllamaChatReply(OllamaEnd):
    model: str
    created_at: str
    message: OllamaAnswer
    done: bool


class OllamaGenerateReply(OllamaEnd):
    model: str
    created_at: str
    response: str
    thinking: NotRequired[str]
    done: bool


class OllamaDetails(TypedDict):
    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class OllamaModel(TypedDict):
    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: OllamaDetails
    expires_at: NotRequired[str]
    size_vram: NotRequired[int]
    context_length: NotRequired[int]


class OllamaModels(TypedDict):
    models: list[OllamaModel]


class OllamaShown(TypedDict):
    modelfile: str
    parameters: str
    template: str
    details: OllamaDetails
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


class OllamaVersion(TypedDict):
    version: str


class OllamaError(TypedDict):
    error: str


def time_of(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

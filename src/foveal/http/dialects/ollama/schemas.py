"""The bodies of Ollama's API, as pydantic models. parse.py says what they mean.

What only says how a machine should run a model is declared and has no effect: here the operator says that.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag

from foveal.http.dialects.wire import MAX_INT, MAX_MESSAGES, Stop, ToolName, UnitFloat, WireModel, by_json_type

MAX_TOOLS = 512
MAX_STOP_TEXTS = 16
MACHINE = "The operator's choice here; no effect."
Machine = Annotated[int | bool | None, Field(description=MACHINE)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class OllamaCalledFunction(WireModel):
    name: str = Field(max_length=256)
    arguments: dict[str, object] = Field(default_factory=dict)
    index: int | None = None


class PastCall(WireModel):
    id: str | None = Field(None, max_length=256)
    type: Literal["function"] | None = None
    function: OllamaCalledFunction


class OllamaMessage(WireModel):
    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    images: list[str] | None = Field(None, max_length=MAX_MESSAGES, description="Base64; they stand before the text.")
    thinking: str | None = None
    tool_calls: list[PastCall] | None = Field(None, max_length=MAX_TOOLS)
    tool_name: str | None = Field(None, max_length=256)
    tool_call_id: str | None = Field(None, max_length=256)
    name: str | None = Field(None, max_length=256)


class OfferedFunction(WireModel):
    name: ToolName
    description: str | None = None
    parameters: dict[str, object] | None = None


class OfferedTool(WireModel):
    type: Literal["function"] | None = None
    function: OfferedFunction


class OllamaOptions(WireModel):
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: UnitFloat | None = None
    top_k: int | None = Field(None, ge=0, le=MAX_INT)
    min_p: UnitFloat | None = None
    typical_p: UnitFloat | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    num_predict: int | None = Field(None, ge=-2, le=MAX_INT, description="Below 1: the server's default.")
    stop: list[Stop] | None = Field(None, max_length=MAX_STOP_TEXTS)
    repeat_penalty: float | None = Field(None, ge=0.01, le=2)
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    mirostat: Literal[0, 2] | None = None
    mirostat_tau: float | None = Field(None, ge=0, le=100)
    mirostat_eta: float | None = Field(None, ge=0, le=10)
    num_ctx: Machine = None
    num_keep: Machine = None
    num_batch: Machine = None
    num_gpu: Machine = None
    main_gpu: Machine = None
    num_thread: Machine = None
    numa: Machine = None
    low_vram: Machine = None
    use_mmap: Machine = None
    use_mlock: Machine = None


Format = Annotated[
    Annotated[Literal["json", ""], Tag("<str>")] | Annotated[dict[str, object], Tag("<object>")],
    by_json_type('"json" or a JSON schema'),
]
Think = Annotated[
    Annotated[bool, Tag("<bool>")] | Annotated[Literal["low", "medium", "high"], Tag("<str>")],
    by_json_type("true, false, low, medium or high"),
]
KeepAlive = Annotated[
    Annotated[str, Tag("<str>")] | Annotated[float, Tag("<number>")], by_json_type("a duration or a number of seconds")
]


class OllamaBody(WireModel):
    """The fields of chat and generate alike."""

    model: str = Field(description="The model's id or an alias, with or without `:latest`.")
    stream: bool | None = Field(None, description="Default: true.")
    format: Format | None = Field(None, description="Holds the answer to JSON or to a schema.")
    options: OllamaOptions | None = None
    think: Think | None = None
    keep_alive: KeepAlive | None = Field(None, description=MACHINE)
    truncate: bool | None = Field(None, description="true: the oldest turns are left out until the prompt fits.")
    shift: Literal[False] | None = None


class OllamaChatBody(OllamaBody):
    """POST /api/chat."""

    messages: list[OllamaMessage] = Field(default_factory=list, max_length=MAX_MESSAGES)
    tools: list[OfferedTool] | None = Field(None, max_length=MAX_TOOLS)


class OllamaGenerateBody(OllamaBody):
    """POST /api/generate: one turn, or with `raw` a prompt that is taken as it is."""

    prompt: str = ""
    system: str | None = None
    images: list[str] | None = Field(None, max_length=MAX_MESSAGES)
    raw: bool | None = None
    suffix: Literal[""] | None = None
    template: Literal[""] | None = None


class OllamaShowBody(WireModel):
    """POST /api/show."""

    model: str | None = None
    name: str | None = Field(None, description="An older name of `model`.")
    verbose: bool | None = None

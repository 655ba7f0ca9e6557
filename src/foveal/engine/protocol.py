"""The messages between a server and its engine; `workers.frames` says how they travel between processes.

Every message carries the name of its type. Both ends trust each other: they are one program.
"""

from __future__ import annotations

import msgspec

from foveal.config import EngineConfig
from foveal.types import EngineInfo, EngineStats, Prompt, SamplingParams, Token
from foveal.workers.frames import Messages
from foveal.workers.jobs import MAX_SETTINGS_BYTES

LOAD_MODEL = "foveal.models.registry:load_model"
# A prompt of 300,000 tokens and as many of an answer take 3 MB; logprobs of such a prompt, with 20 others each, 90 MB.
MAX_TO_ENGINE_BYTES, MAX_FROM_ENGINE_BYTES = 64 << 20, 1 << 30


# --- to the engine ----------------------------------------------------------------------------------------------------


class Start(msgspec.Struct, frozen=True):
    """The settings of an engine process: what to load."""

    folder: str
    config: EngineConfig
    arena_fd: int
    arena_bytes: int
    load_model: str = LOAD_MODEL  # the function that loads the model, as "module:name"


class Submit(msgspec.Struct, frozen=True, tag=True):
    """Continue a prompt. Ids ascend in the order of arrival, also over restarts of the engine."""

    sequence_id: int
    prompt: Prompt
    sampling: SamplingParams
    output_token_ids: tuple[int, ...] = ()  # of a resumed request: the tokens that it has already produced
    num_cached_tokens: int | None = None  # of a resumed request: as in its first token
    mirostat_mu: float | None = None  # of a resumed request: as in its last token


class Abort(msgspec.Struct, frozen=True, tag=True):
    sequence_id: int


class Close(msgspec.Struct, frozen=True, tag=True):
    """Stop. Sent only to an engine in a thread: an engine process stops when its socket is closed."""


# --- from the engine --------------------------------------------------------------------------------------------------


class Progress(msgspec.Struct, frozen=True, tag=True):
    """Loading: the share of the weights that is loaded, 0 to 1."""

    share: float


class Ready(msgspec.Struct, frozen=True, tag=True):
    info: EngineInfo


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """The model cannot be served: the message of a CheckpointError, or of a ConfigError if a setting is wrong."""

    message: str
    is_setting: bool


class StepStarted(msgspec.Struct, frozen=True, tag=True):
    """A step begins with these sequences, so that the server knows which were running if the step never ends."""

    sequence_ids: tuple[int, ...]


class Encoding(msgspec.Struct, frozen=True):
    """When the encoder worked for a sequence, by `time.monotonic`, which is one clock for both processes."""

    sequence_id: int
    started_s: float
    ended_s: float


class StepDone(msgspec.Struct, frozen=True, tag=True):
    """What a step produced. Every accepted request ends in exactly one of these events: a token with a finish_reason
    (finished), an entry in `failed`, or an entry in `aborted`."""

    tokens: tuple[tuple[int, Token], ...] = ()
    failed: tuple[tuple[int, str], ...] = ()  # (sequence id, why, for the client)
    aborted: tuple[int, ...] = ()
    stats: EngineStats = EngineStats()
    encoded: tuple[Encoding, ...] = ()


ToEngine = Submit | Abort | Close
FromEngine = Progress | Ready | LoadFailed | StepStarted | StepDone

START: Messages[Start] = Messages(Start, MAX_SETTINGS_BYTES)
TO_ENGINE: Messages[ToEngine] = Messages(ToEngine, MAX_TO_ENGINE_BYTES)
FROM_ENGINE: Messages[FromEngine] = Messages(FromEngine, MAX_FROM_ENGINE_BYTES)

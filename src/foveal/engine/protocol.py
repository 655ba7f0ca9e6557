"""The messages between a server and its engine, and how they are framed on a socket.

A frame is a length (4 bytes, little endian) and that many bytes of msgpack. Every message names its own type, and
nothing but these types can come out of a frame. Both ends are trusted: they are one program.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import msgspec

from foveal.config import EngineConfig
from foveal.types import EngineInfo, EngineStats, Prompt, SamplingParams, Token

LOAD_MODEL = "foveal.models.registry:load_model"


# --- to the engine ----------------------------------------------------------------------------------------------------


class Start(msgspec.Struct, frozen=True, tag=True):
    """The first message to an engine process: what to load."""

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
    output_token_ids: tuple[int, ...] = ()  # of a request that is resumed: the tokens it has already given
    num_cached_tokens: int | None = None  # of a request that is resumed: what its first token said
    mirostat_mu: float | None = None  # of a request that is resumed: what its last token said


class Abort(msgspec.Struct, frozen=True, tag=True):
    sequence_id: int


class Close(msgspec.Struct, frozen=True, tag=True):
    """Stop. Only an engine in a thread needs to be told: a process sees the end of its socket."""


# --- from the engine --------------------------------------------------------------------------------------------------


class Progress(msgspec.Struct, frozen=True, tag=True):
    """Loading: the share of the weights that is there, 0 to 1."""

    share: float


class Ready(msgspec.Struct, frozen=True, tag=True):
    info: EngineInfo


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """The model cannot be served: CheckpointError's words, or ConfigError's if a setting is at fault."""

    message: str
    is_setting: bool


class StepStarted(msgspec.Struct, frozen=True, tag=True):
    """A step begins with these requests: who was running, should it never end."""

    sequence_ids: tuple[int, ...]


class StepDone(msgspec.Struct, frozen=True, tag=True):
    """What a step produced. Every accepted request ends in exactly one of: a token with a finish_reason (finished),
    an entry in `failed`, an entry in `aborted`."""

    tokens: tuple[tuple[int, Token], ...] = ()
    failed: tuple[tuple[int, str], ...] = ()  # (sequence id, why, for the client)
    aborted: tuple[int, ...] = ()
    stats: EngineStats = EngineStats()


ToEngine = Start | Submit | Abort | Close
FromEngine = Progress | Ready | LoadFailed | StepStarted | StepDone

decode_to_engine: Callable[[bytes], ToEngine] = msgspec.msgpack.Decoder(ToEngine).decode
decode_from_engine: Callable[[bytes], FromEngine] = msgspec.msgpack.Decoder(FromEngine).decode

_encode = msgspec.msgpack.Encoder().encode
_LENGTH = struct.Struct("<I")


def frame(message: ToEngine | FromEngine) -> bytes:
    """The message as it goes over the socket."""
    payload = _encode(message)
    return _LENGTH.pack(len(payload)) + payload


class Frames:
    """Cuts a byte stream into frames, whatever pieces it comes in."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, received: bytes) -> Iterator[bytes]:
        """Add what was received; yield the payloads that are complete now."""
        self._buffer += received
        while len(self._buffer) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            yield bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]

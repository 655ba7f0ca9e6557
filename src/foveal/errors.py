"""Every error that a client or an operator can get.

    FovealError
    ├── RequestError               what the client is told, with an HTTP status of its own
    │   ├── InvalidRequest         400
    │   │   ├── ImageError         400, names the image by position
    │   │   ├── FileError          400, names the file by position
    │   │   ├── PromptTooLong      400
    │   │   └── MethodNotAllowed   405
    │   ├── Unauthorized           401
    │   ├── SpendingLimitReached   402
    │   ├── Forbidden              403
    │   ├── NotFound               404
    │   ├── BodyTooLarge           413
    │   ├── TooManyRequests        429, with Retry-After
    │   ├── Overloaded             503, with Retry-After
    │   │   └── Draining           503
    │   └── GenerationFailed       500, this request alone could not be answered
    │       └── CutOff             500, the server stopped before it had ended
    ├── CheckpointError            a model folder or hub id that cannot be served; says what is missing
    └── ConfigError                a setting that cannot work; says which and what would

Messages are written for the person who gets them. They never hold a stack trace, a decoder's message, a path or an
address of another system. CheckpointError and ConfigError may, since only the operator gets them. How an error is
written on the wire, with its type and code, is the dialect's choice.
`assert` is for our own bugs and never guards against input.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


class FovealError(Exception):
    """Base of all; `str(error)` is the message for the person."""


class RequestError(FovealError):
    """A request that cannot be answered. `param`: the field that is to blame, if it is one."""

    status: ClassVar[int]
    retry_after_s: int | None = None

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequest(RequestError):
    status = 400


class ImageError(InvalidRequest):
    """One image of the request cannot be used. `position` is 1-based."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(f"image {position}: {message}", param="images")
        self.position = position


class FileError(InvalidRequest):
    """One file of the request cannot be used. `position` is 1-based."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(f"file {position}: {message}", param="files")
        self.position = position


class PromptTooLong(InvalidRequest):
    """`is_least`: the prompt has at least `num_tokens`, and the rest was not counted."""

    def __init__(self, num_tokens: int, max_model_len: int, *, is_least: bool = False) -> None:
        num = f"{num_tokens} or more" if is_least else str(num_tokens)
        super().__init__(
            f"The prompt is too long: {num}, model maximum context length: {max_model_len}", param="prompt"
        )


class MethodNotAllowed(InvalidRequest):
    """`allowed`: the methods that the path takes."""

    status = 405

    def __init__(self, message: str, allowed: Sequence[str]) -> None:
        super().__init__(message)
        self.allowed = allowed


class Unauthorized(RequestError):
    status = 401

    def __init__(self, message: str = "The API key you provided is invalid.") -> None:
        super().__init__(message)


class SpendingLimitReached(RequestError):
    status = 402


class Forbidden(RequestError):
    status = 403


class NotFound(RequestError):
    status = 404


class BodyTooLarge(RequestError):
    status = 413


class TooManyRequests(RequestError):
    """A limit of the caller's key is reached. The same request fits after `wait_s`, unless others come first."""

    status = 429

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = max(1, math.ceil(wait_s))


class Overloaded(RequestError):
    status = 503
    retry_after_s = 1


class Draining(Overloaded):
    """The server is stopping. A restarted one needs some seconds, so an earlier retry would fail too."""

    retry_after_s = 5


class GenerationFailed(RequestError):
    status = 500


CLOSED = "The server is shutting down."


class CutOff(GenerationFailed):
    """The server stopped before the answer had ended. That is no fault of the request or the model."""


class CheckpointError(FovealError):
    """The model cannot be loaded. The message names what is missing or unsupported and what to do."""


class ConfigError(FovealError):
    """A setting cannot work. The message names the setting and a value that would."""

"""Why a run could not begin. An error in one request of a run is no exception, but a field of its Sample."""

from __future__ import annotations

from foveal.errors import FovealError


class BenchError(FovealError):
    """The message says what was found, and what to do."""


class ServerNotThere(BenchError):
    """Nothing answers at the URL."""


class NotAnOpenAIServer(BenchError):
    """Something answers, but not as OpenAI's API does."""


class KeyRefused(BenchError):
    """The server wants a key, or another one."""


class UnknownModel(BenchError):
    """The server does not serve the model."""


class Refused(BenchError):
    """The server speaks the dialect, and refuses what this run would ask."""

"""The dialect of Anthropic's Messages API. Its versions and betas are headers, which change nothing here."""

from __future__ import annotations

from foveal.http.dialects.anthropic import messages
from foveal.http.dialects.anthropic.errors import STATUSES, MessagesError, error_body
from foveal.http.dialects.dialect import Dialect, KeyHeader

ANTHROPIC = Dialect(
    names=("Anthropic",),
    prefixes=("/v1", "/inference/v1", "/inference/v1/v1"),
    endpoints=messages.ENDPOINTS,
    key_headers=(KeyHeader("x-api-key"), KeyHeader("authorization", "Bearer")),
    error_body=error_body,
    error_schema=MessagesError,
    statuses=STATUSES,
)

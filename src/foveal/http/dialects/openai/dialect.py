"""The dialect of OpenAI's chat completions and completions, with Fireworks' fields and paths beside OpenAI's."""

from __future__ import annotations

from dataclasses import replace

from foveal.http.dialects.dialect import Dialect, KeyHeader
from foveal.http.dialects.openai import chat, completions, models, refused, tokenize
from foveal.http.dialects.openai.errors import ErrorBody, error_body

OPENAI = Dialect(
    names=("Fireworks", "OpenAI"),
    prefixes=("/v1", "/inference/v1", "/inference/v1/v1"),
    endpoints=(
        chat.ENDPOINT,
        completions.ENDPOINT,
        tokenize.ENDPOINT,
        *refused.ENDPOINTS,
    ),
    key_headers=(KeyHeader("authorization", "Bearer"),),
    error_body=error_body,
    error_schema=ErrorBody,
)
MODELS = replace(  # Anthropic's clients list models at the same path, with the key in their header
    OPENAI,
    names=(),
    endpoints=models.ENDPOINTS,
    key_headers=(*OPENAI.key_headers, KeyHeader("x-api-key")),
)

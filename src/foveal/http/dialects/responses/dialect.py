"""The dialect of OpenAI's Responses API. Its errors and keys are those of OpenAI's older endpoints."""

from __future__ import annotations

from foveal.http.dialects.dialect import Dialect
from foveal.http.dialects.openai.dialect import OPENAI
from foveal.http.dialects.responses import kept, responses

RESPONSES = Dialect(
    names=("OpenAI Responses",),
    prefixes=OPENAI.prefixes,
    endpoints=(*responses.ENDPOINTS, *kept.ENDPOINTS),
    key_headers=OPENAI.key_headers,
    error_body=OPENAI.error_body,
    error_schema=OPENAI.error_schema,
)

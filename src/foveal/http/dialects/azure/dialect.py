"""The paths and the key header of Azure's OpenAI service, in front of OpenAI's endpoints.

A deployment is a model's name in the path, which wins over the body's. `api-version` may be anything.
"""

from __future__ import annotations

from dataclasses import replace

from foveal.http.dialects.dialect import Dialect, KeyHeader
from foveal.http.dialects.openai import chat, completions
from foveal.http.dialects.openai.dialect import MODELS, OPENAI
from foveal.http.dialects.responses.dialect import RESPONSES

KEY_HEADERS = (KeyHeader("api-key"), *OPENAI.key_headers)
OF_A_DEPLOYMENT = (chat.ENDPOINT, completions.ENDPOINT)
OF_ALL = (*OPENAI.endpoints, *MODELS.endpoints, *RESPONSES.endpoints)

DEPLOYMENTS = replace(
    OPENAI,
    names=("Azure OpenAI",),
    prefixes=("/openai/deployments/{model}",),
    endpoints=OF_A_DEPLOYMENT,
    key_headers=KEY_HEADERS,
)
AZURE: tuple[Dialect, ...] = (
    DEPLOYMENTS,
    replace(
        DEPLOYMENTS,
        names=(),
        prefixes=("/openai/v1",),
        endpoints=tuple(replace(endpoint, docs=None) for endpoint in OF_ALL),
    ),
)

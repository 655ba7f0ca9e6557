"""openai for Python. Its completions take images through `extra_body`."""

from __future__ import annotations

import functools

from openai import AsyncOpenAI, OpenAI

from tests.contract.clients import stainless
from tests.contract.clients.asked import asked, report

ASKED = asked()
BASE_URL = f"{ASKED.url}/v1"

connect = functools.partial(OpenAI, base_url=BASE_URL)
connect_async = functools.partial(AsyncOpenAI, base_url=BASE_URL)
client = connect(api_key=ASKED.key)

report(
    {
        **stainless.ways(ASKED, connect, connect_async, lambda images: {"extra_body": {"images": images}}),
        "models": client.models.list,
        "one model": lambda: client.models.retrieve(ASKED.alias),
    }
)

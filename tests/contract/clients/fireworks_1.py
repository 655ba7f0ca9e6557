"""fireworks-ai 1.x: `from fireworks import Fireworks`."""

from __future__ import annotations

import functools

from fireworks import AsyncFireworks, Fireworks

from tests.contract.clients import stainless
from tests.contract.clients.asked import asked, report

ASKED = asked()
BASE_URL = f"{ASKED.url}/inference"

connect = functools.partial(Fireworks, base_url=BASE_URL)
connect_async = functools.partial(AsyncFireworks, base_url=BASE_URL)

report(stainless.ways(ASKED, connect, connect_async, lambda images: {"images": images}))

"""What several servers of one database have to hold to together, whichever database it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from foveal.accounting.database import Database
from tests.accounting.builders import key
from tests.accounting.ingress import Ingress, ingresses

NUM_SERVERS, NUM_REQUESTS = 8, 13  # at each of them
COST_NANO = 10 * 1000 + 10 * 2000  # of a request, which has 10 tokens each way
PRICES = {"FOVEAL_PRICES_PROMPT": "1", "FOVEAL_PRICES_COMPLETION": "2"}


def environ(place: Path | str, **settings: str) -> dict[str, str]:
    name = "FOVEAL_ACCOUNTING_PATH" if isinstance(place, Path) else "FOVEAL_ACCOUNTING_URL"
    return {name: str(place), "FOVEAL_ACCOUNTING_SHARED_LIMITS": "true", **settings}


def came_of(servers: list[Ingress]) -> Counter[str]:
    for server in servers:
        server.ask()
    return sum((server.came() for server in servers), Counter[str]())


def exactly_ten_pass(place: Path | str, limit: str) -> None:
    """104 requests at once at 8 servers, by a key that may have 10."""
    Database(place).close()
    with ingresses(NUM_SERVERS, environ(place, **{f"FOVEAL_LIMITS_{limit}": "10"}), "alice", NUM_REQUESTS) as servers:
        came = came_of(list(servers))
        assert (came["passed"], came["TooManyRequests"]) == (10, NUM_SERVERS * NUM_REQUESTS - 10)
        for server in servers:
            server.end()


def nothing_is_spent_twice(place: Path | str) -> None:
    """104 requests at once by a key that can pay for 10 and a half. What they cost is counted once, in three rounds."""
    database = Database(place)
    database.add(key("alice", spending_limit_nano=21 * COST_NANO // 2))
    with ingresses(NUM_SERVERS, environ(place, **PRICES), "alice", NUM_REQUESTS) as servers:
        came = came_of(list(servers))
        assert (came["passed"], came["TooManyRequests"]) == (10, NUM_SERVERS * NUM_REQUESTS - 10)
        for server in servers:
            server.end()
        came = came_of(list(servers))
        assert came["passed"] == 0
        for server in servers:
            server.end()
    assert database.key("alice").spent_nano == 10 * COST_NANO
    assert [row.num_requests for row in database.usage("key")] == [10]
    database.close()

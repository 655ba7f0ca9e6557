"""What servers tell each other about a key: what they hold, what was taken, and who is dead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from foveal.accounting.database import Database
from foveal.accounting.limits import Meter
from foveal.accounting.meters import Amount, Held, Reservation
from foveal.accounting.shared_tables import DEAD_AFTER, SharedTables
from foveal.errors import TooManyRequests
from tests.accounting.builders import ENTRY, key

NOTHING, ONE = Held(), Held(1, 500)


class Server:
    """One of several, which remembers what it was last shown."""

    def __init__(self, path: Path, name: str) -> None:
        self.database = Database(path)
        self.tables = SharedTables(self.database, name)
        self.tables.beat({})
        self.spent_nano = 0

    def take(self) -> float:
        return self.tables.take("alice", 1, Amount(10, 20), NOTHING, ONE, self._check)[1]

    def look(self) -> Meter:
        """The key's meter at all servers. Looking takes nothing."""
        return self.tables.take("alice", 0, Amount(), NOTHING, NOTHING, self._check)[0]

    def _check(self, meter: Meter, spent_nano: int, now_s: float) -> None:
        self.spent_nano = spent_nano


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    here, there = (Server(tmp_path / "accounting.db", name) for name in ("here", "there"))
    yield here, there
    for server in (here, there):
        server.database.close()


def test_each_sees_what_the_other_took_and_holds(servers: tuple[Server, Server]) -> None:
    here, there = servers
    now_s = here.take()
    seen = there.look()
    assert (seen.num_running, seen.reserved_nano) == (1, 500)
    assert [window.total(now_s) for window in (seen.requests, seen.prompt_tokens, seen.generated_tokens)] == [1, 10, 20]


def test_what_was_not_used_comes_back(servers: tuple[Server, Server]) -> None:
    here, there = servers
    now_s = here.take()
    here.tables.publish({"alice": NOTHING}, [("alice", Reservation(0.0, Amount(0, 15), now_s))])
    seen = there.look()
    assert (seen.num_running, seen.reserved_nano) == (0, 0)
    assert (seen.prompt_tokens.total(now_s), seen.generated_tokens.total(now_s)) == (10, 5)


def test_a_refusal_leaves_nothing(servers: tuple[Server, Server]) -> None:
    here, there = servers

    def refuse(meter: Meter, spent_nano: int, now_s: float) -> None:
        raise TooManyRequests("", 1.0)

    with pytest.raises(TooManyRequests):
        here.tables.take("alice", 1, Amount(10, 20), NOTHING, ONE, refuse)
    seen = there.look()
    assert (seen.num_running, seen.requests.total(0.0)) == (0, 0)


def test_what_a_dead_server_holds_is_free_after_some_beats_of_another(servers: tuple[Server, Server]) -> None:
    here, there = servers
    here.take()
    for _ in range(DEAD_AFTER - 1):  # the first one was at the start
        there.tables.beat({})
        assert there.look().num_running == 1
    there.tables.beat({})
    assert there.look().num_running == 0
    here.tables.beat({"alice": ONE})  # it was not dead after all
    assert there.look().num_running == 1


def test_who_beats_is_not_dead(servers: tuple[Server, Server]) -> None:
    here, there = servers
    here.take()
    for _ in range(2 * DEAD_AFTER):
        here.tables.beat({"alice": ONE})
        there.tables.beat({})
    assert there.look().num_running == 1


def test_a_server_that_ends_holds_nothing(servers: tuple[Server, Server]) -> None:
    here, there = servers
    here.take()
    here.tables.leave()
    assert there.look().num_running == 0


def test_what_a_key_has_spent_is_read_with_what_is_held(servers: tuple[Server, Server]) -> None:
    here, there = servers
    here.database.add(key("alice"))
    here.database.record([ENTRY], {"alice": 70})
    there.look()
    assert there.spent_nano == 70


def test_a_batch_is_written_once(servers: tuple[Server, Server]) -> None:
    """As where a connection breaks at the commit, and the server cannot know."""
    here, _ = servers
    here.database.add(key("alice"))
    for number in (1, 1, 2, 2):
        here.database.record([ENTRY], {"alice": 7}, ("here", number))
    assert here.database.key("alice").spent_nano == 14
    assert here.database.usage("key")[0].num_requests == 2

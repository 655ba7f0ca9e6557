"""What servers tell each other about limits, in the database: each method is one transaction. Knows no request.

A server writes what it holds in absolute numbers, so writing it again mends whatever went wrong before. What was taken
in a second is added up by all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection, bindparam, delete, func, select, update

from foveal.accounting import schema
from foveal.accounting.backends import insert_or_update, lock, now_s
from foveal.accounting.database import Database
from foveal.accounting.limits import WINDOW_S, Meter
from foveal.accounting.meters import Amount, Held, Reservation

DEAD_AFTER = 15  # beats in a row at which another server's did not change
FORGOTTEN_S = 86_400.0  # rows of servers that have not been seen for so long are deleted

Check = Callable[[Meter, int, float], None]  # a key's meter, what it has spent, the time


class SharedTables:
    """The tables as the server with this id uses them, for one thread at a time."""

    def __init__(self, database: Database, server_id: str) -> None:
        self._database = database
        self._server_id = server_id
        self._beat = 0
        self._silent: dict[str, tuple[int, int]] = {}  # by server: its last beat, and for how many of ours it was that

    def take(
        self, key_id: str, requests: int, amount: Amount, before: Held, after: Held, check: Check
    ) -> tuple[Meter, float]:
        """Take for a key unless `check` raises. Returns its meter, this server's part included, and the time.

        before, after: what this server holds. Servers that take for the same key do it one after the other.
        """
        with self._database.writing() as connection:
            lock(connection, f"foveal: key {key_id}")
            moment_s = now_s(connection)
            meter, spent_nano = self._meter(connection, key_id, before, moment_s)
            check(meter, spent_nano, moment_s)
            row = {
                "key_id": key_id,
                "second": int(moment_s),
                "requests": requests,
                "prompt_tokens": amount.prompt_tokens,
                "generated_tokens": amount.generated_tokens,
            }
            added = ("requests", "prompt_tokens", "generated_tokens")
            connection.execute(insert_or_update(connection, schema.taken, added=added), row)
            self._hold(connection, {key_id: after})
        meter.requests.take(requests, moment_s)
        meter.prompt_tokens.take(amount.prompt_tokens, moment_s)
        meter.generated_tokens.take(amount.generated_tokens, moment_s)
        return meter, moment_s

    def publish(self, held: Mapping[str, Held], unused: Sequence[tuple[str, Reservation]]) -> None:
        """Write what this server holds for these keys, and give back what was not used of their reservations."""
        taken = schema.taken.c
        gives_back = update(schema.taken).where(
            taken.key_id == bindparam("of_key"), taken.second == bindparam("at_second")
        )
        gives_back = gives_back.values(
            prompt_tokens=taken.prompt_tokens - bindparam("prompt"),
            generated_tokens=taken.generated_tokens - bindparam("generated"),
        )
        rows = [
            {
                "of_key": key_id,
                "at_second": int(given.shared_s),
                "prompt": given.amount.prompt_tokens,
                "generated": given.amount.generated_tokens,
            }
            for key_id, given in unused
            if given.shared_s is not None
        ]
        with self._database.writing() as connection:
            self._hold(connection, held)
            if rows:
                connection.execute(gives_back, sorted(rows, key=lambda row: (row["of_key"], row["at_second"])))

    def beat(self, held: Mapping[str, Held]) -> None:
        """Say that this server lives and what it holds, and drop what the dead hold.

        A server is dead that has said nothing while this one has beaten `DEAD_AFTER` times. No clocks are compared,
        and while the database is away nobody dies.
        """
        self._beat += 1
        with self._database.writing() as connection:
            moment_s = now_s(connection)
            alive = update(schema.server).where(schema.server.c.id == self._server_id)
            changed = connection.execute(alive.values(beat=schema.server.c.beat + 1, seen_s=moment_s))
            if not changed.rowcount:
                row = {"id": self._server_id, "beat": 1, "batch": 0, "seen_s": moment_s}
                connection.execute(schema.server.insert(), row)
            self._hold(connection, held)
            rows = connection.execute(select(schema.server.c.id, schema.server.c.beat))
            beats = {row.id: row.beat for row in rows}
            self._bury(connection, beats)
            if self._beat % WINDOW_S == 0:
                connection.execute(delete(schema.taken).where(schema.taken.c.second < moment_s - 2 * WINDOW_S))
                connection.execute(delete(schema.server).where(schema.server.c.seen_s < moment_s - FORGOTTEN_S))

    def leave(self) -> None:
        """This server ends, and holds nothing any more."""
        with self._database.writing() as connection:
            connection.execute(delete(schema.held).where(schema.held.c.server_id == self._server_id))
            connection.execute(delete(schema.server).where(schema.server.c.id == self._server_id))

    def _meter(self, connection: Connection, key_id: str, mine: Held, moment_s: float) -> tuple[Meter, int]:
        """A key's meter at all servers, and what it has spent. Sums come from one statement, so no cost is missed."""
        held, taken = schema.held.c, schema.taken.c
        spent = select(schema.key.c.spent_nano).where(schema.key.c.id == key_id).scalar_subquery()
        others = select(func.sum(held.num_running), func.sum(held.reserved_nano), spent).where(
            held.key_id == key_id, held.server_id != self._server_id
        )
        num_running, reserved_nano, spent_nano = connection.execute(others).one()
        meter = Meter(
            num_running=int(num_running or 0) + mine.num_running,
            reserved_nano=int(reserved_nano or 0) + mine.reserved_nano,
        )
        last_minute = (
            select(taken.second, taken.requests, taken.prompt_tokens, taken.generated_tokens)
            .where(taken.key_id == key_id, taken.second >= int(moment_s) - WINDOW_S - 1)
            .order_by(taken.second)
        )
        for second, requests, prompt_tokens, generated_tokens in connection.execute(last_minute):
            meter.requests.take(requests, second)
            meter.prompt_tokens.take(prompt_tokens, second)
            meter.generated_tokens.take(generated_tokens, second)
        return meter, int(spent_nano or 0)

    def _hold(self, connection: Connection, held: Mapping[str, Held]) -> None:
        rows = [
            {
                "server_id": self._server_id,
                "key_id": key_id,
                "num_running": of_key.num_running,
                "reserved_nano": of_key.reserved_nano,
            }
            for key_id, of_key in sorted(held.items())
        ]
        if rows:
            connection.execute(insert_or_update(connection, schema.held), rows)

    def _bury(self, connection: Connection, beats: Mapping[str, int]) -> None:
        num_before = {id: num for id, (beat, num) in self._silent.items() if beats.get(id) == beat}
        self._silent = {id: (beat, num_before.get(id, 0) + 1) for id, beat in beats.items() if id != self._server_id}
        dead = [id for id, (_, num_beats) in self._silent.items() if num_beats > DEAD_AFTER]
        if dead:
            connection.execute(delete(schema.held).where(schema.held.c.server_id.in_(dead)))

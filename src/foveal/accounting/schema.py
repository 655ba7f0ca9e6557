"""The tables of the accounts, as SQLAlchemy knows them. `migrations/` makes them, and a test compares the two."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeEngine

HEAD = "2"  # the newest migration

WHOLE = BigInteger().with_variant(Integer(), "sqlite")  # 64 bits in both; SQLite's strict tables know INTEGER only
REAL: TypeEngine[float] = Double().with_variant(sqlite.REAL(), "sqlite")

tables = MetaData()

key = Table(
    "key",
    tables,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("account", Text, nullable=False),
    Column("created_s", REAL, nullable=False),
    Column("expires_s", REAL),
    Column("revoked_s", REAL),
    Column("requests_per_minute", WHOLE),
    Column("prompt_tokens_per_minute", WHOLE),
    Column("generated_tokens_per_minute", WHOLE),
    Column("max_concurrent_requests", WHOLE),
    Column("spending_limit_nano", WHOLE),
    Column("spent_nano", WHOLE, nullable=False),
    Column("is_operator", WHOLE, nullable=False),
    UniqueConstraint("name"),
    sqlite_strict=True,
)

ledger = Table(
    "ledger",
    tables,
    Column("request_id", Text, nullable=False),
    Column("ended_s", REAL, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("key_name", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("prompt_tokens", WHOLE, nullable=False),
    Column("image_tokens", WHOLE, nullable=False),
    Column("cached_tokens", WHOLE, nullable=False),
    Column("completion_tokens", WHOLE, nullable=False),
    Column("cost_nano", WHOLE, nullable=False),
    Column("currency", Text, nullable=False),
    Column("duration_s", REAL, nullable=False),
    Column("first_token_s", REAL),
    Index("ledger_by_time", "ended_s"),
    sqlite_strict=True,
)

# One row, whose number grows with each change of keys: servers read keys again when it has.
change = Table("change", tables, Column("number", WHOLE, nullable=False), sqlite_strict=True)

# A running server. `beat` grows while it lives; `batch` is the last batch of rows that it wrote.
server = Table(
    "server",
    tables,
    Column("id", Text, primary_key=True),
    Column("beat", WHOLE, nullable=False),
    Column("batch", WHOLE, nullable=False),
    Column("seen_s", REAL, nullable=False),
    sqlite_strict=True,
)

# What the running requests of one key take at one server.
held = Table(
    "held",
    tables,
    Column("server_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("num_running", WHOLE, nullable=False),
    Column("reserved_nano", WHOLE, nullable=False),
    PrimaryKeyConstraint("key_id", "server_id"),
    sqlite_strict=True,
)

# What one key took in one second, at all servers.
taken = Table(
    "taken",
    tables,
    Column("key_id", Text, nullable=False),
    Column("second", WHOLE, nullable=False),
    Column("requests", WHOLE, nullable=False),
    Column("prompt_tokens", WHOLE, nullable=False),
    Column("generated_tokens", WHOLE, nullable=False),
    PrimaryKeyConstraint("key_id", "second"),
    sqlite_strict=True,
)

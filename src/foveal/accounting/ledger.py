"""The ledger's records: a row for each answer that ended, and a summary of rows. They hold no text and no images."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from foveal.types import Status

Grouping = Literal["day", "key", "model"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer that ended. The fields are the columns of the ledger, in order."""

    request_id: str
    ended_s: float  # Unix time
    key_id: str  # "": without a key
    key_name: str
    account: str
    model: str
    status: Status
    prompt_tokens: int
    image_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_nano: int  # 0 if it failed
    currency: str
    duration_s: float
    first_token_s: float | None  # None: it ended before its first token


ENTRY_COLUMNS = tuple(column.name for column in fields(Entry))


@dataclass(frozen=True, slots=True)
class UsageRow:
    """A summary of the answers of a day (UTC), a key or a model."""

    group: str
    currency: str
    num_requests: int
    num_failed: int
    num_aborted: int
    prompt_tokens: int
    image_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_nano: int
    first_token_s: float | None  # mean

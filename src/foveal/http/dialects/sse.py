"""Writes server-sent events. Their content, and which one is the last, is the dialect's choice."""

from __future__ import annotations

from foveal.http.responses import to_json

MEDIA_TYPE = "text/event-stream"


def event(payload: object, name: str | None = None) -> bytes:
    """One event. Encoded JSON has no line breaks, so one `data:` line is enough."""
    data = b"data: " + to_json(payload) + b"\n\n"
    return data if name is None else b"event: " + name.encode() + b"\n" + data

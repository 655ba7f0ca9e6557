"""Counts and times of all images since the start, for metrics."""

from __future__ import annotations

from dataclasses import dataclass, field

from foveal.telemetry import Histogram


@dataclass(frozen=True, slots=True)
class ImageStats:
    num_images: int = 0  # images of requests that could be fetched and hashed
    num_hits: int = 0  # of these, those whose pixels were cached or being written
    num_url_hits: int = 0  # URLs whose bytes were in the download cache
    num_fetch_failures: int = 0
    num_decode_failures: int = 0
    fetch_s: Histogram = field(default_factory=lambda: Histogram(()))
    decode_s: Histogram = field(default_factory=lambda: Histogram(()))  # waiting for a worker included

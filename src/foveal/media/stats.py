"""What the images since the start took together, for whoever watches the server."""

from __future__ import annotations

from dataclasses import dataclass, field

from foveal.telemetry import Histogram


@dataclass(frozen=True, slots=True)
class ImageStats:
    num_images: int = 0  # that requests brought and that could be read so far as to be told apart
    num_hits: int = 0  # of these, whose pixels were there or on their way
    num_url_hits: int = 0  # URLs whose bytes were there
    num_fetch_failures: int = 0
    num_decode_failures: int = 0
    fetch_s: Histogram = field(default_factory=lambda: Histogram(()))
    decode_s: Histogram = field(default_factory=lambda: Histogram(()))  # waiting for a worker included

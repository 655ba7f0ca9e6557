"""The conversations of a workload, one after the other. A seed and a number determine a conversation.

Each conversation has pictures and words of its own, so that no cache is hit by accident. Shared conversations begin
(pictures, then words) like one of a small pool, and end in words of their own. So a cache of prefixes or of pictures
can help, and a cache of whole answers cannot.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foveal.bench.pictures import data_url, draw, random_size
from foveal.bench.records import Conversation
from foveal.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foveal.bench.records import Workload

MEASURED, WARMUP, POOL = range(3)  # kinds of conversations; no two kinds draw the same numbers
ENDING = "Describe in detail what is shown."
NUM_OWN_WORDS = 3
MIN_SIDE = 8  # pixels
WORDS = (Path(__file__).parent / "words.txt").read_text("ascii").split()  # common words, mostly one token each


def check(workload: Workload) -> None:
    """Raise ConfigError for a workload that cannot be run."""
    if workload.num_requests is None and workload.duration_s is None:
        raise ConfigError("a run needs an end: --requests or --duration")
    if min(workload.smallest) < MIN_SIDE:
        raise ConfigError(f"a picture's sides have at least {MIN_SIDE} pixels")
    if any(least > most for least, most in zip(workload.smallest, workload.largest, strict=True)):
        raise ConfigError("--image-size takes the smallest size first, such as 256x256-1024x768")


def measured(workload: Workload) -> Iterator[Conversation]:
    """The conversations that are measured: as many as the workload has, or without end."""
    number, num_left = 0, workload.num_requests
    while num_left is None or num_left > 0:
        num_turns = workload.num_turns if num_left is None else min(workload.num_turns, num_left)
        yield _conversation(workload, MEASURED, number, num_turns)
        number += 1
        num_left = None if num_left is None else num_left - num_turns


def warmup(workload: Workload) -> Iterator[Conversation]:
    """Some that share nothing, then each of the pool, so that caches have what shared conversations begin with."""
    for number in range(workload.num_warmup):
        yield _conversation(workload, WARMUP, number, 1)
    if workload.num_warmup and workload.shared_share:
        for number in range(workload.pool_size):
            yield _conversation(workload, POOL, number, 1)


def _conversation(workload: Workload, kind: int, number: int, num_turns: int) -> Conversation:
    own = np.random.default_rng([workload.seed, kind, number])
    is_shared = kind == MEASURED and float(own.random()) < workload.shared_share
    begins_like = [POOL, int(own.integers(workload.pool_size))] if is_shared else [kind, number]
    beginning = np.random.default_rng([workload.seed, *begins_like, 1])
    images = tuple(_image(workload, beginning) for _ in range(workload.num_images))
    first = _question(workload, beginning, own)
    later = (_question(workload, own, own) for _ in range(num_turns - 1))
    return Conversation(number, images, (first, *later), is_shared)


def _image(workload: Workload, rng: np.random.Generator) -> str:
    size = random_size(rng, workload.smallest, workload.largest)
    return data_url(draw(rng, size), workload.image_format)


def _question(workload: Workload, beginning: np.random.Generator, own: np.random.Generator) -> str:
    """A question of about `num_prompt_words` words. A common word is about one token."""
    num_words = max(0, workload.num_prompt_words - NUM_OWN_WORDS - len(ENDING.split()))
    words = [*beginning.choice(WORDS, num_words), *own.choice(WORDS, NUM_OWN_WORDS)]
    return f"{' '.join(words)}. {ENDING}"

"""The records of a run, in the order in which they are made. Nothing here computes more than a difference.

Times are seconds of the run's monotonic clock, whose zero has no meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from foveal.types import Size

ImageFormat = Literal["jpeg", "png"]
Counting = Literal["usage", "chunks", "mixed"]
DEFAULT_SIZE = Size(512, 512)


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked, and how fast. Equal workloads send equal requests, except for the answers in later turns."""

    num_requests: int | None = 32  # None: until duration_s is over
    duration_s: float | None = None  # no conversation starts later; those under way are finished
    concurrency: int = 1  # conversations at once
    rate_per_s: float | None = None  # conversations that start in a second, instead of concurrency
    num_images: int = 1  # a conversation
    smallest: Size = DEFAULT_SIZE
    largest: Size = DEFAULT_SIZE
    image_format: ImageFormat = "jpeg"
    num_prompt_words: int = 32  # a turn
    max_tokens: int = 64
    num_turns: int = 1  # requests of a conversation, about the same pictures
    shared_share: float = 0.0  # of conversations that begin like one of the pool
    pool_size: int = 4  # beginnings (pictures and words) that are shared
    num_warmup: int = 2  # conversations that are asked first and not counted; 0: nor is the pool asked
    round_size: int | None = None  # conversations a server is asked before it is the other's turn
    seed: int = 0
    ignore_eos: bool = False  # not OpenAI's: some servers then go on to max_tokens
    asks_usage: bool = True  # send stream_options.include_usage
    timeout_s: float = 600.0  # a request, from its sending to its end

    @property
    def num_conversations(self) -> int | None:
        return None if self.num_requests is None else -(-self.num_requests // self.num_turns)


@dataclass(frozen=True, slots=True)
class Server:
    url: str  # with /v1, without a user's name or password
    model: str
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a person would ask about some pictures, one question a turn."""

    number: int
    images: tuple[str, ...] = field(repr=False)  # data URLs
    questions: tuple[str, ...]
    is_shared: bool = False  # it begins like one of the pool


class Request(NamedTuple):
    """Which request of a run. It is the same one at both servers, so that they can be compared."""

    conversation: int
    turn: int  # from 1
    round: int  # from 0; all conversations of a round are asked of one server before the other is asked
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One request's times and counts, as its client saw them."""

    request: Request
    start_s: float  # what waiting is counted from: the planned arrival with a rate, else sent_s
    sent_s: float
    ended_s: float  # the answer's last byte, or the error or timeout that ended it
    chunks_s: tuple[float, ...] = ()  # arrivals of the chunks that carry text
    last_s: float | None = None  # the last chunk that carries text or a finish reason
    finish_reason: str | None = None
    prompt_tokens: int | None = None  # by usage
    cached_tokens: int | None = None  # by usage: prompt tokens that came from the prefix cache
    completion_tokens: int | None = None  # by usage
    status: int | None = None  # HTTP's; None: no answer began
    error: str | None = None  # what went wrong, in few words; then nothing else of the answer counts


@dataclass(frozen=True, slots=True)
class Answer:
    sample: Sample
    text: str


class RoundTime(NamedTuple):
    """When one server was asked the conversations of one round."""

    round: int
    started_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """Of a time, in seconds. Percentiles are interpolated between the two nearest values (numpy's "linear")."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Report:
    """What one server did. A time is None if no request has it."""

    num_answered: int
    num_failed: int
    num_without_text: int  # of the answered
    busy_s: float  # while it was being asked
    ttft: Distribution | None  # start to the first chunk with text
    ttft_of: tuple[tuple[str, Distribution], ...]  # of kinds of requests, where a run has several
    tpot: Distribution | None  # a request's mean time of a token after its first
    gap: Distribution | None  # between neighbouring chunks with text
    e2e: Distribution | None  # start to the last byte
    lag: Distribution | None  # planned arrival to sending: the generator's own lateness; None without a rate
    requests_per_s: float
    output_tokens_per_s: float
    prompt_tokens_per_s: float | None  # None: usage did not say
    output_tokens: int
    prompt_tokens: int | None
    cached_tokens: int | None
    tokens_counted_by: Counting
    errors: tuple[tuple[str, int], ...]  # the commonest first

    @property
    def error_share(self) -> float:
        return self.num_failed / max(1, self.num_answered + self.num_failed)


@dataclass(frozen=True, slots=True)
class Ratio:
    """The first server's figure divided by the second's, with a 95 % interval where rounds were enough."""

    name: str  # as expectations name it: ttft.p50, output_tokens_per_s
    value: float
    low: float | None
    high: float | None
    is_time: bool  # smaller is better


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured, before anything is computed from it. `samples` and `rounds` have one entry a server."""

    samples: tuple[tuple[Sample, ...], ...]
    rounds: tuple[tuple[RoundTime, ...], ...]
    is_cut: bool  # by Ctrl-C
    cpu_share: float  # of one core, that this process used while it measured
    waited_s: float  # for pictures to be drawn

"""Where a request is best sent: which replica has its prefix or its images, and how much each has to do. Knows no Ray.

What is remembered of a replica is what it was sent last, as much as its cache holds. The replica may have lost some of
it since, or have got more from another ingress. Then a request is computed in full where it need not be, no more.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from foveal.engine.protocol import Submit
from foveal.types import Prompt, PromptImage

CHUNK = 128  # tokens of a prompt that have one key
CROP_TOKENS = 256  # encoding a crop takes about as long as computing so many tokens, within a factor of four
MAX_ANSWER_TOKENS = 512  # of an answer that count as work: most end long before max_tokens
KEY_BYTES = 8


@dataclass(frozen=True, slots=True)
class ImageDemand:
    key: bytes
    end: int  # position after it in the prompt
    num_tokens: int
    num_crops: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request asks of a replica that has nothing of it."""

    prefix: tuple[bytes, ...]  # a key for each chunk of the prompt, which names all that comes before it, too
    images: tuple[ImageDemand, ...]
    num_tokens: int  # of the prompt, and about as many as the answer takes

    @property
    def work(self) -> int:
        """In tokens."""
        return self.num_tokens + CROP_TOKENS * sum(image.num_crops for image in self.images)


def demand_of(submission: Submit) -> Demand:
    prompt = submission.prompt
    num_left = max(submission.sampling.max_tokens - len(submission.output_token_ids), 0)
    num_tokens = len(prompt.token_ids) + len(submission.output_token_ids) + min(num_left, MAX_ANSWER_TOKENS)
    images = tuple(
        ImageDemand(_key(prompt.cache_salt, of.image.hash), _end(of), of.num_prompt_tokens, of.image.layout.num_crops)
        for of in prompt.images
    )
    return Demand(tuple(_chain(prompt)), images, num_tokens)


def _chain(prompt: Prompt) -> Iterator[bytes]:
    """An image counts where its first token is. Prompts with different salts share nothing, as in an engine."""
    key = _key(b"", prompt.cache_salt)
    token_ids = prompt.token_ids[: prompt.max_cached_tokens]
    images = [(of.spans[0].offset, of.image.hash) for of in prompt.images]
    for start in range(0, len(token_ids) - CHUNK + 1, CHUNK):
        hashes = [hash_ for offset, hash_ in images if start <= offset < start + CHUNK]
        key = _key(key, array("q", token_ids[start : start + CHUNK]).tobytes(), *hashes)
        yield key


def _key(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(parts), digest_size=KEY_BYTES).digest()


def _end(of: PromptImage) -> int:
    return of.spans[-1].end


@dataclass(slots=True)
class _Replica:
    max_tokens: int  # that its cache holds
    kept: OrderedDict[bytes, int] = field(default_factory=OrderedDict)  # tokens by key, the least recently sent first
    num_kept_tokens: int = 0
    num_outstanding: int = 0  # work, in tokens

    def lacks(self, demand: Demand) -> int:
        """The work of the request here."""
        num_chunks = next((i for i, key in enumerate(demand.prefix) if key not in self.kept), len(demand.prefix))
        num_cached = num_chunks * CHUNK
        missing = (image for image in demand.images if image.end > num_cached and image.key not in self.kept)
        return demand.num_tokens - num_cached + CROP_TOKENS * sum(image.num_crops for image in missing)

    def keep(self, demand: Demand) -> None:
        for image in demand.images:
            self._keep(image.key, image.num_tokens)
        for key in reversed(demand.prefix):  # so that a prefix is forgotten from its end
            self._keep(key, CHUNK)
        while self.num_kept_tokens > self.max_tokens:
            _, num_tokens = self.kept.popitem(last=False)
            self.num_kept_tokens -= num_tokens

    def _keep(self, key: bytes, num_tokens: int) -> None:
        self.num_kept_tokens += num_tokens - self.kept.pop(key, 0)
        self.kept[key] = num_tokens


@dataclass(frozen=True, slots=True)
class _Sent:
    replica: str
    work: int


class Affinities:
    """What one ingress knows of the replicas."""

    def __init__(self) -> None:
        self._replicas: dict[str, _Replica] = {}
        self._sent: dict[str, _Sent] = {}  # by request

    def there_are(self, replicas: Mapping[str, int]) -> None:
        """The replicas by name, each with the tokens that its cache holds. Others are forgotten."""
        if replicas.keys() != self._replicas.keys():
            known = self._replicas
            self._replicas = {name: known.get(name) or _Replica(most) for name, most in replicas.items()}

    def ranked(self, demand: Demand) -> list[str]:
        """The replicas, the one first that would be done first; of equals, the one that was sent least."""

        def rank(name: str) -> tuple[int, int]:
            replica = self._replicas[name]
            return replica.num_outstanding + replica.lacks(demand), replica.num_kept_tokens

        return sorted(self._replicas, key=rank)

    def sent(self, request: str, name: str, demand: Demand) -> None:
        """A replica has the request now, and no other replica has it any more."""
        if request in self._sent and self._sent[request].replica == name:
            return
        self.ended(request)
        if replica := self._replicas.get(name):
            work = replica.lacks(demand)
            replica.num_outstanding += work
            replica.keep(demand)
            self._sent[request] = _Sent(name, work)

    def ended(self, request: str) -> None:
        """Without effect for a request that was not sent."""
        sent = self._sent.pop(request, None)
        if sent and sent.replica in self._replicas:
            self._replicas[sent.replica].num_outstanding -= sent.work

    @property
    def num_outstanding(self) -> dict[str, int]:
        """Work by replica, in tokens."""
        return {name: replica.num_outstanding for name, replica in self._replicas.items()}

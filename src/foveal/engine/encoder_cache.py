"""Image features by image hash, bounded in bytes; also the parts of images that are not yet encoded whole.

An entry that some running sequence still needs is pinned and stays; the others are given up least recently used
first. Pinned entries may exceed the bound, since a sequence must be able to go on; `is_full` asks the scheduler to
begin nothing new then. It knows nothing of models: features are whatever tensors they are. Imports no torch.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from foveal.engine.kv_cache import IntegrityError
from foveal.engine.sequence import ImageKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor


@dataclass(slots=True)
class _Entry:
    parts: list[Tensor] = field(default_factory=list)  # encoded crops in order, until all are there
    num_crops: int = 0  # encoded so far
    features: Tensor | None = None

    @property
    def num_bytes(self) -> int:
        tensors = self.parts if self.features is None else [self.features]
        return sum(tensor.nbytes for tensor in tensors)


class EncoderCache:
    """At most `max_bytes` of features that nobody needs at the moment."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._entries: OrderedDict[ImageKey, _Entry] = OrderedDict()  # least recently used first
        self._pins: dict[ImageKey, set[int]] = {}  # the requests that need the features, there or not

    @property
    def is_full(self) -> bool:
        """Whether what is pinned fills the bound."""
        pinned = sum(entry.num_bytes for key, entry in self._entries.items() if key in self._pins)
        return pinned >= self.max_bytes

    def features(self, key: ImageKey) -> Tensor | None:
        """The features, or None while the image is not encoded whole."""
        entry = self._entries.get(key)
        return entry.features if entry else None

    def num_crops(self, key: ImageKey) -> int:
        """How many crops of the image are encoded, from its first."""
        entry = self._entries.get(key)
        return entry.num_crops if entry else 0

    def crops(self, key: ImageKey) -> tuple[Tensor, ...]:
        """The encoded crops of an image that is not whole yet, in pieces, in order."""
        entry = self._entries.get(key)
        return tuple(entry.parts) if entry else ()

    def add_crops(self, key: ImageKey, crops: Tensor) -> None:
        """Add the next crops [n, ...] of an image."""
        entry = self._entries.setdefault(key, _Entry())
        entry.parts.append(crops)
        entry.num_crops += len(crops)
        self.num_bytes += crops.nbytes
        self._shrink()

    def put(self, key: ImageKey, features: Tensor) -> None:
        """The image is encoded whole: its features take the place of its parts."""
        entry = self._entries.setdefault(key, _Entry())
        self.num_bytes -= entry.num_bytes
        entry.features = features
        entry.parts = []
        self.num_bytes += entry.num_bytes
        self._shrink()

    def drop(self, key: ImageKey) -> None:
        """Forget the image, needed or not."""
        entry = self._entries.pop(key, None)
        if entry:
            self.num_bytes -= entry.num_bytes

    def pin(self, key: ImageKey, sequence_id: int) -> None:
        """Keep the features, once they are there, until this request unpins them."""
        self._pins.setdefault(key, set()).add(sequence_id)
        if key in self._entries:
            self._entries.move_to_end(key)

    def unpin(self, key: ImageKey, sequence_id: int) -> None:
        owners = self._pins.get(key)
        if owners is None:
            return
        owners.discard(sequence_id)
        if not owners:
            del self._pins[key]
            self._shrink()

    def pinned_by(self, key: ImageKey) -> frozenset[int]:
        """The requests that need the image."""
        return frozenset(self._pins.get(key, ()))

    def check_integrity(self, sequence_ids: Iterable[int]) -> None:
        """Raise IntegrityError unless the bytes add up and every pin is one of a running request in `sequence_ids`."""
        if sum(entry.num_bytes for entry in self._entries.values()) != self.num_bytes:
            raise IntegrityError("the encoder cache's bytes do not add up")
        if not set().union(*self._pins.values()) <= set(sequence_ids):
            raise IntegrityError("an image is pinned by a request that is not running")

    def _shrink(self) -> None:
        idle = (key for key in list(self._entries) if key not in self._pins)
        while self.num_bytes > self.max_bytes and (key := next(idle, None)) is not None:
            self.drop(key)

"""The encoder cache: image features by image hash, bounded in bytes, and the crops of images encoded in part.

An entry that a running sequence needs is pinned. Other entries are evicted, the least recently used first. Pinned
entries may exceed the bound, because a running sequence must be able to continue. `is_full` then tells the scheduler
to start no other image. Knows nothing of models or of what the tensors mean. Imports no torch.
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
    parts: list[Tensor] = field(default_factory=list)  # encoded crops in order; empty once `features` is set
    num_crops: int = 0  # encoded so far
    features: Tensor | None = None

    @property
    def num_bytes(self) -> int:
        tensors = self.parts if self.features is None else [self.features]
        return sum(tensor.nbytes for tensor in tensors)


class EncoderCache:
    """Keeps at most `max_bytes`, unless pinned entries alone exceed that."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self.num_encoded_crops = 0  # ever
        self._entries: OrderedDict[ImageKey, _Entry] = OrderedDict()  # least recently used first
        self._pins: dict[ImageKey, set[int]] = {}  # sequences that need the features, encoded or not

    @property
    def is_full(self) -> bool:
        """Whether pinned entries alone fill `max_bytes`."""
        pinned = sum(entry.num_bytes for key, entry in self._entries.items() if key in self._pins)
        return pinned >= self.max_bytes

    def features(self, key: ImageKey) -> Tensor | None:
        """The features, or None until all crops of the image are encoded."""
        entry = self._entries.get(key)
        return entry.features if entry else None

    def num_crops(self, key: ImageKey) -> int:
        """How many of the image's first crops are encoded."""
        entry = self._entries.get(key)
        return entry.num_crops if entry else 0

    def crops(self, key: ImageKey) -> tuple[Tensor, ...]:
        """The encoded crops of an image that is encoded in part: one tensor for each step, in order."""
        entry = self._entries.get(key)
        return tuple(entry.parts) if entry else ()

    def add_crops(self, key: ImageKey, crops: Tensor) -> None:
        """Add the next crops [n, ...] of an image."""
        entry = self._entries.setdefault(key, _Entry())
        entry.parts.append(crops)
        entry.num_crops += len(crops)
        self.num_encoded_crops += len(crops)
        self.num_bytes += crops.nbytes
        self._shrink()

    def put(self, key: ImageKey, features: Tensor, num_crops: int = 1) -> None:
        """Store the features of an image in place of its crops, after its last `num_crops` have been encoded."""
        self.num_encoded_crops += num_crops
        entry = self._entries.setdefault(key, _Entry())
        self.num_bytes -= entry.num_bytes
        entry.features = features
        entry.parts = []
        self.num_bytes += entry.num_bytes
        self._shrink()

    def drop(self, key: ImageKey) -> None:
        """Remove the image's entry, even if it is pinned."""
        entry = self._entries.pop(key, None)
        if entry:
            self.num_bytes -= entry.num_bytes

    def pin(self, key: ImageKey, sequence_id: int) -> None:
        """Keep the image's entry, present or future, until this sequence unpins it."""
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
        """The sequences that need the image."""
        return frozenset(self._pins.get(key, ()))

    def check_integrity(self, sequence_ids: Iterable[int]) -> None:
        """Raise IntegrityError unless the bytes add up and every pin belongs to one of the running `sequence_ids`."""
        if sum(entry.num_bytes for entry in self._entries.values()) != self.num_bytes:
            raise IntegrityError("the encoder cache's bytes do not add up")
        if not set().union(*self._pins.values()) <= set(sequence_ids):
            raise IntegrityError("an image is pinned by a request that is not running")

    def _shrink(self) -> None:
        idle = (key for key in list(self._entries) if key not in self._pins)
        while self.num_bytes > self.max_bytes and (key := next(idle, None)) is not None:
            self.drop(key)

"""Whose image is encoded next. Plain arithmetic: imports no torch.

The turn goes round the requests, image by image: next is the one whose last run of the encoder is the longest ago. So
a request with one image waits for one image of each other at most, however many those have. An image that has been
begun comes first. To go round crop by crop would end all of them late, and keep the crops of many in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal.engine.encoder_cache import EncoderCache
    from foveal.engine.scheduler import WantedImage
    from foveal.engine.sequence import ImageKey


@dataclass(frozen=True, slots=True)
class Share:
    """Crops [start, stop) of an image: its part of a run of the encoder."""

    wanted: WantedImage
    start: int
    stop: int

    @property
    def is_last(self) -> bool:
        return self.stop == self.wanted.image.layout.num_crops


class Rounds:
    def __init__(self, max_num_crops: int, splits_images: bool) -> None:
        """max_num_crops: of a run. An image that cannot be split may have more, and then goes alone."""
        self.max_num_crops = max_num_crops
        self.splits_images = splits_images
        self._num_runs = 0
        self._last_runs: dict[int, int] = {}  # by sequence id: the number of its last run
        self._alone: set[ImageKey] = set()  # to be encoded in runs of their own

    def next_run(self, wanted: Iterable[WantedImage], encoder_cache: EncoderCache) -> tuple[Share, ...]:
        """The crops to encode next; none if no image is wanted any more."""
        images = [image for image in wanted if image.is_missing(encoder_cache)]
        ids = dict.fromkeys(image.owner.sequence_id for image in images)
        self._last_runs = {i: self._last_runs.get(i, 0) for i in ids}
        is_new = {image.key: encoder_cache.num_crops(image.key) == 0 for image in images}
        images.sort(key=lambda image: (is_new[image.key], self._last_runs[image.owner.sequence_id]))
        if not images:
            return ()
        if images[0].key in self._alone:
            self._alone.discard(images[0].key)
            shares = self._filled(images[:1], encoder_cache)
        else:
            shares = self._filled([image for image in images if image.key not in self._alone], encoder_cache)
        self._num_runs += 1
        self._last_runs |= {share.wanted.owner.sequence_id: self._num_runs for share in shares}
        return shares

    def try_alone(self, keys: Iterable[ImageKey]) -> None:
        """Encode these images in runs of their own the next time."""
        self._alone.update(keys)

    def _filled(self, images: Iterable[WantedImage], encoder_cache: EncoderCache) -> tuple[Share, ...]:
        shares, num_left = list[Share](), self.max_num_crops
        for wanted in images:
            start, stop = encoder_cache.num_crops(wanted.key), wanted.image.layout.num_crops
            if self.splits_images:
                stop = min(stop, start + num_left)
            if start < stop <= start + num_left or not shares:
                shares.append(Share(wanted, start, stop))
                num_left -= stop - start
        return tuple(shares)

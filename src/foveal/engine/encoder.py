"""Runs the vision tower over crops, a piece at a time, and puts what comes of it into the encoder cache.

One run is under way at a time, so its memory is bounded by a few crops, or by one image that cannot be split. A run
reads its pixels in the step in which it begins, and goes on over as many steps as it takes. Knows neither clock nor
order: `pace` says how long, `rounds` says what next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from foveal.layers.pieces import Pieces
from foveal.models.family import CropRange

if TYPE_CHECKING:
    from foveal.arena import PixelArena
    from foveal.engine.encoder_cache import EncoderCache
    from foveal.engine.pace import Turn
    from foveal.engine.rounds import Rounds, Share
    from foveal.engine.scheduler import WantedImage
    from foveal.engine.sequence import ImageKey
    from foveal.models.family import ImageSide

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Run:
    """Crops that go through the tower together."""

    shares: tuple[Share, ...]
    pieces: Pieces[list[Tensor]]  # an image's features if its last crops are in the run, otherwise the encoded crops
    has_begun: bool = False

    @property
    def owner_ids(self) -> tuple[int, ...]:
        return tuple(share.wanted.owner.sequence_id for share in self.shares)


class Encoder:
    """The run that is under way, and those after it."""

    def __init__(
        self,
        images: ImageSide | None,
        rounds: Rounds,
        encoder_cache: EncoderCache,
        arena: PixelArena,
        device: torch.device,
    ) -> None:
        self.images = images
        self.rounds = rounds
        self.encoder_cache = encoder_cache
        self.arena = arena
        self.device = device
        self._run: Run | None = None
        self._begun: list[WantedImage] = []  # whose pixels were read in this step

    @property
    def is_busy(self) -> bool:
        """Whether a run is under way."""
        return self._run is not None

    @torch.inference_mode()
    def encode(
        self,
        wanted: Sequence[WantedImage],
        turn: Turn,
        on_start: Callable[[tuple[int, ...]], None],
    ) -> list[ImageKey]:
        """Go on with the run under way, then with others, while there is time; returns the images that failed.

        on_start: called with the requests of each run before it goes on or begins.
        """
        self._begun = []
        self._drop_unless_needed()
        failed: list[ImageKey] = []
        has_ended = True
        while run := self._run or self._begin([image for image in wanted if image.key not in failed]):
            if has_ended:
                on_start(run.owner_ids)
            try:
                has_ended = self._advance(run, turn.takes_whole_layers)
            except Exception as error:  # any failure of one image must not fail the others
                has_ended, self._run = True, None
                failed += self._failed(run, error)
            if not turn.has_time(has_ended) or (has_ended and self.encoder_cache.is_full):
                break
        return failed

    def settle(self) -> None:
        """After new messages: drop what was made of pixels that an abort may have set free while they were read."""
        tainted = {image.key for image in self._begun if image.owner.status == "done"}
        for key in tainted:
            self.encoder_cache.drop(key)
        if self._run and any(share.wanted.key in tainted for share in self._run.shares):
            self._run = None
        self._drop_unless_needed()

    def _drop_unless_needed(self) -> None:
        """Drop the run under way if nobody waits for one of its images, or if crops before it were evicted."""
        cache = self.encoder_cache
        if self._run and not all(
            cache.pinned_by(share.wanted.key) and cache.num_crops(share.wanted.key) == share.start
            for share in self._run.shares
        ):
            self._run = None

    def _begin(self, wanted: Sequence[WantedImage]) -> Run | None:
        shares = self.rounds.next_run(wanted, self.encoder_cache)
        if not shares:
            return None
        self._begun += [share.wanted for share in shares]
        self._run = Run(shares, self._encoded(shares))
        return self._run

    def _advance(self, run: Run, takes_whole_layers: bool) -> bool:
        """Compute the next piece; returns whether it was the last. If so, the results are in the cache."""
        try:
            run.pieces.send(takes_whole_layers if run.has_begun else None)
            run.has_begun = True
        except StopIteration as end:
            self._run = None
            for share, result in zip(run.shares, end.value, strict=True):
                if share.is_last:
                    self.encoder_cache.put(share.wanted.key, result, share.stop - share.start)
                else:
                    self.encoder_cache.add_crops(share.wanted.key, result)
            return True
        return False

    def _encoded(self, shares: Sequence[Share]) -> Pieces[list[Tensor]]:
        assert self.images is not None, "without a processor no prompt has images"
        encoded = yield from self.images.encode_crops([self._crop_range(share) for share in shares])
        for i, share in enumerate(shares):
            if share.is_last:
                crops = torch.cat([*self.encoder_cache.crops(share.wanted.key), encoded[i]])
                encoded[i] = yield from self.images.assemble(share.wanted.image.layout, crops)
        return encoded

    def _crop_range(self, share: Share) -> CropRange:
        image = share.wanted.image
        pixels = torch.from_numpy(self.arena.view(image.pixels)).to(self.device)
        return CropRange(pixels, image.layout, share.start, share.stop)

    def _failed(self, run: Run, error: Exception) -> list[ImageKey]:
        """The image that failed. Which of several it was is found by trying each alone."""
        keys = [share.wanted.key for share in run.shares]
        if len(keys) > 1:
            self.rounds.try_alone(keys)
            return []
        log.warning("one image failed in the engine", exc_info=error)
        return keys

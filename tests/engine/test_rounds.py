"""engine/rounds.py: whose image is encoded next."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from foveal.engine.encoder_cache import EncoderCache
from foveal.engine.rounds import Rounds
from foveal.engine.scheduler import WantedImage
from foveal.engine.sequence import Sequence
from foveal.types import Image, ImageLayout, PixelRef, Size


class Owner:
    """Stands for a sequence: the rounds ask no more of it."""

    def __init__(self, sequence_id: int) -> None:
        self.sequence_id = sequence_id
        self.status = "running"


class Waiting:
    """Images that wait, by owner: how many crops each has. A run is carried out by counting."""

    def __init__(self, crops_of_owners: dict[int, list[int]], max_num_crops: int, splits_images: bool = True) -> None:
        self.cache = EncoderCache(1 << 20)
        self.rounds = Rounds(max_num_crops, splits_images)
        self.owners = {i: Owner(i) for i in crops_of_owners}
        self.wanted = [
            WantedImage((b"", bytes([i, number])), image_of(num_crops), cast("Sequence", self.owners[i]))
            for i, images in crops_of_owners.items()
            for number, num_crops in enumerate(images)
        ]

    def run(self) -> list[tuple[int, int, int]]:
        """The next run's shares: (owner, start, stop)."""
        shares = self.rounds.next_run(self.wanted, self.cache)
        for share in shares:
            self.cache.pin(share.wanted.key, share.wanted.owner.sequence_id)
            if share.is_last:
                self.cache.put(share.wanted.key, torch.zeros(1))
            else:
                self.cache.add_crops(share.wanted.key, torch.zeros(share.stop - share.start))
        return [(share.wanted.owner.sequence_id, share.start, share.stop) for share in shares]

    def owners_of_runs(self) -> list[int]:
        owners = []
        while run := self.run():
            owners += [owner for owner, _, _ in run]
        return owners


def image_of(num_crops: int) -> Image:
    return Image(bytes(32), PixelRef(0, (1,)), ImageLayout(Size(1, 1), (1,), (), num_crops, 1))


@pytest.mark.parametrize(
    ("crops_of_owners", "expected"),
    [
        pytest.param({1: [1, 1, 1]}, [1, 1, 1], id="one request, in order"),
        pytest.param({1: [1] * 4, 2: [1]}, [1, 2, 1, 1, 1], id="one image is not behind many"),
        pytest.param({1: [4], 2: [2], 3: [1]}, [1, 1, 1, 1, 2, 2, 3], id="an image that has been begun is ended"),
        pytest.param({1: [1, 1], 2: [1, 1], 3: [1]}, [1, 2, 3, 1, 2], id="round the requests"),
    ],
)
def test_the_turn_goes_round_the_requests(crops_of_owners: dict[int, list[int]], expected: list[int]) -> None:
    assert Waiting(crops_of_owners, max_num_crops=1).owners_of_runs() == expected


def test_a_newcomer_is_next_after_the_run_under_way() -> None:
    waiting = Waiting({1: [1] * 6, 2: [1]}, max_num_crops=1)
    newcomer = waiting.wanted.pop()
    waiting.run()
    waiting.run()

    waiting.wanted.append(newcomer)

    assert waiting.run() == [(2, 0, 1)]


def test_crops_of_several_images_fill_a_run() -> None:
    waiting = Waiting({1: [3], 2: [4]}, max_num_crops=5)

    assert [waiting.run(), waiting.run(), waiting.run()] == [[(1, 0, 3), (2, 0, 2)], [(2, 2, 4)], []]


def test_an_image_that_cannot_be_split_goes_whole_and_alone_if_it_is_larger_than_a_run() -> None:
    waiting = Waiting({1: [9], 2: [2, 2]}, max_num_crops=4, splits_images=False)

    assert [waiting.run(), waiting.run()] == [[(1, 0, 9)], [(2, 0, 2), (2, 0, 2)]]


def test_images_of_a_run_that_failed_are_tried_one_by_one() -> None:
    waiting = Waiting({1: [1], 2: [1], 3: [1]}, max_num_crops=4)
    waiting.rounds.try_alone(image.key for image in waiting.wanted[:2])

    assert [waiting.run(), waiting.run(), waiting.run()] == [[(1, 0, 1)], [(2, 0, 1)], [(3, 0, 1)]]


def test_a_request_that_ended_since_is_left_out() -> None:
    waiting = Waiting({1: [1], 2: [1]}, max_num_crops=4)
    waiting.owners[1].status = "done"

    assert waiting.run() == [(2, 0, 1)]

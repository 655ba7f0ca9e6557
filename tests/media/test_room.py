"""media/room.py: no caller holds so much of the arena that others find none."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from foveal.errors import Overloaded
from foveal.media.cache import EncodedImage
from foveal.media.room import Room
from foveal.types import ImageLayout, Size

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio

SLOT = 64
NUM_SLOTS = 9


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def room() -> Room:
    return Room(NUM_SLOTS * SLOT, max_wait_s=0.05)


def images(*names: str, num_slots: int = 1) -> list[EncodedImage]:
    layout = ImageLayout(Size(1, 1), (num_slots * SLOT,), (), 1, 1)
    return [EncodedImage(name.encode(), b"", layout) for name in names]


async def num_that_fit(room: Room, caller: str, stack: AsyncExitStack, wanted: Sequence[EncodedImage]) -> int:
    """How many of the images a caller can hold, each for another request."""
    for number, image in enumerate(wanted):
        try:
            await stack.enter_async_context(room.hold(caller, [image]))
        except Overloaded:
            return number
    return len(wanted)


async def test_a_caller_leaves_room_for_the_next(room: Room) -> None:
    async with AsyncExitStack() as stack:
        found = [await num_that_fit(room, caller, stack, images(*map(str, range(9)))) for caller in "abc"]

    assert found == [4, 2, 1]


async def test_the_first_request_of_a_caller_may_need_nearly_all(room: Room) -> None:
    async with room.hold("a", images("large", num_slots=8)), room.hold("b", images("x")):
        pass
    async with room.hold("a", images("large", num_slots=9)):
        pass


async def test_an_image_that_many_requests_of_a_caller_share_counts_once_and_to_the_last(room: Room) -> None:
    same = images("same", num_slots=3) * 50
    async with AsyncExitStack() as stack:
        assert await num_that_fit(room, "a", stack, same) == 50
        assert await num_that_fit(room, "a", stack, images(*"123456789")) == 1
    async with room.hold("a", images("1", num_slots=9)):
        pass


async def test_room_is_given_when_a_request_that_held_it_ends(room: Room) -> None:
    patient = Room(NUM_SLOTS * SLOT, max_wait_s=60)
    async with AsyncExitStack() as stack:
        assert await num_that_fit(patient, "a", stack, images(*"1234")) == 4
        waiting = asyncio.create_task(num_that_fit(patient, "a", stack, images("4", "5")))
        await asyncio.sleep(0)
        async with patient.hold("b", images("1")):  # b is not behind it
            assert not waiting.done()
        await stack.aclose()
        assert await waiting == 2

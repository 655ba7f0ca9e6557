"""engine/state_cache.py: which snapshots are kept, and which go first."""

from __future__ import annotations

import pytest

from foveal.engine.kv_cache import IntegrityError
from foveal.engine.state_cache import StateCache


class Kept:
    """A cache for two sequences, and prompts whose blocks have the hashes "a1", "a2", ..."""

    def __init__(self, num_snapshots: int) -> None:
        self.evicted_blocks: set[bytes] = set()
        self.cache = StateCache(2, num_snapshots, lambda block_hash: block_hash not in self.evicted_blocks)

    def save(self, prompt: str, num_blocks: int) -> int | None:
        """The slot that the state after so many blocks gets."""
        hashes = prompt_hashes(prompt, num_blocks)
        slot = self.cache.reserve(hashes)
        if slot is not None:
            self.cache.settle(hashes[-1], is_written=True)
        self.cache.check_integrity([*range(2)][: 2 - len(self.cache._free)])
        return slot

    def longest(self, prompt: str, num_blocks: int = 99) -> int:
        return self.cache.longest(prompt_hashes(prompt, num_blocks))


def prompt_hashes(prompt: str, num_blocks: int) -> list[bytes]:
    return [f"{prompt}{n}".encode() for n in range(1, num_blocks + 1)]


def test_the_longest_prefix_with_a_snapshot_is_found() -> None:
    kept = Kept(4)
    kept.save("a", 3)
    kept.save("a", 7)

    assert [kept.longest("a", n) for n in (2, 3, 6, 7, 20)] == [0, 3, 3, 7, 7]
    assert kept.longest("b") == 0


def test_a_snapshot_is_found_once_it_is_written() -> None:
    cache = StateCache(1, 2, lambda _: True)
    hashes = prompt_hashes("a", 3)
    slot = cache.reserve(hashes)

    assert slot == 1
    assert cache.longest(hashes) == 0
    assert cache.reserve(hashes) is None  # another sequence of the same step does not write it, too
    with pytest.raises(IntegrityError, match="reserved"):
        cache.check_integrity([])
    cache.settle(hashes[-1], is_written=True)
    assert cache.longest(hashes) == 3
    assert cache.use(hashes[-1]) == slot


def test_a_snapshot_of_a_failed_step_is_never_found() -> None:
    cache = StateCache(1, 1, lambda _: True)
    hashes = prompt_hashes("a", 3)
    cache.reserve(hashes)

    cache.settle(hashes[-1], is_written=False)

    assert cache.longest(hashes) == 0
    assert cache.reserve(hashes) is not None


def test_the_one_that_is_cheapest_to_compute_again_goes_first() -> None:
    kept = Kept(3)
    for prompt, num_blocks in (("a", 50), ("a", 52), ("b", 20)):
        kept.save(prompt, num_blocks)

    kept.save("c", 10)  # two blocks from "a" at 50 are fewer than twenty from nothing

    assert (kept.longest("a"), kept.longest("b"), kept.longest("c")) == (50, 20, 10)


def test_what_comes_after_an_evicted_one_is_worth_more() -> None:
    kept = Kept(2)
    kept.save("a", 10)
    kept.save("a", 50)
    kept.save("b", 30)  # for "a" at 10; the other one then is worth fifty blocks

    kept.save("c", 35)

    assert (kept.longest("a"), kept.longest("b"), kept.longest("c")) == (50, 0, 35)


def test_a_short_new_one_is_not_kept_for_long_ones() -> None:
    kept = Kept(2)
    kept.save("a", 30)
    kept.save("b", 30)

    assert kept.save("c", 2) is None
    assert (kept.longest("a"), kept.longest("b")) == (30, 30)


def test_what_is_never_used_goes_in_the_end() -> None:
    kept = Kept(2)
    kept.save("a", 30)
    kept.save("b", 30)

    for number in range(40):
        kept.cache.use(b"b30")
        kept.save(f"c{number} ", 2)

    assert (kept.longest("a"), kept.longest("b")) == (0, 30)


def test_one_without_blocks_goes_before_all_others() -> None:
    kept = Kept(2)
    kept.save("a", 90)
    kept.save("b", 5)
    kept.evicted_blocks.add(b"a90")

    kept.save("c", 1)

    assert (kept.longest("a"), kept.longest("b"), kept.longest("c")) == (0, 5, 1)


def test_without_room_nothing_is_kept() -> None:
    assert Kept(0).save("a", 9) is None

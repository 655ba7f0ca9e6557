"""engine/kv_cache.py: which blocks a sequence gets, which are found by hash, which are evicted."""

from __future__ import annotations

import random

import pytest

from foveal.engine.kv_cache import BlockPool, IntegrityError, block_hash, root_hash
from foveal.engine.sequence import SpanSource
from foveal.types import ImageSpan

ROOT = root_hash(b"", 0)


def hashes(num_blocks: int, seed: int = 0) -> list[bytes]:
    """The chain hashes of a sequence of blocks of one token."""
    chain = [ROOT]
    for i in range(num_blocks):
        chain.append(block_hash(chain[-1], [seed * 1000 + i], i, ()))
    return chain[1:]


def computed(pool: BlockPool, num_blocks: int, seed: int = 0) -> list[int]:
    """Blocks in use that hold a sequence and can be found."""
    table = pool.allocate(num_blocks)
    for block, digest in zip(table, hashes(num_blocks, seed), strict=True):
        pool.register(block, digest)
    return table


def test_a_sequence_gets_neighbours() -> None:
    pool = BlockPool(100)

    first = pool.allocate(5)
    grown = pool.allocate(2, after=first[-1])

    assert first + grown == list(range(7))


def test_a_sequence_in_use_is_left_room_to_grow() -> None:
    pool = BlockPool(100)
    first = pool.allocate(4)
    second = pool.allocate(4)

    for _ in range(40):
        first += pool.allocate(1, after=first[-1])
        second += pool.allocate(1, after=second[-1])

    assert first == list(range(44))
    assert second == list(range(second[0], second[0] + 44))


def test_a_fragmented_pool_is_filled_with_its_largest_runs_first() -> None:
    pool = BlockPool(20)
    tables = [pool.allocate(4, after=i * 4 - 1) for i in range(5)]
    pool.release(tables[1])
    pool.release(tables[3][2:])

    assert pool.allocate(6) == [4, 5, 6, 7, 14, 15]


def test_a_known_prefix_is_found_up_to_the_first_difference() -> None:
    pool = BlockPool(10)
    table = computed(pool, 4)
    pool.release(table)

    assert pool.find(hashes(6)) == table
    assert pool.find([*hashes(2), *hashes(4, seed=1)[2:]]) == table[:2]
    assert pool.find(hashes(4, seed=1)) == []


def test_shared_blocks_stay_used_until_the_last_release() -> None:
    pool = BlockPool(4)
    table = computed(pool, 3)
    shared = pool.find(hashes(2))
    pool.share(shared)

    pool.release(table)

    pool.check_integrity([shared])
    assert pool.num_available == 2
    assert pool.find(hashes(3)) == table


def test_the_least_recently_used_blocks_are_evicted_first_and_from_their_end() -> None:
    pool = BlockPool(24)
    old, recent = computed(pool, 12, seed=1), computed(pool, 12, seed=2)
    pool.release(old)
    pool.release(recent)
    pool.share(pool.find(hashes(12, seed=1)))
    pool.release(old)  # used again, so that it is now the more recent

    pool.allocate(1)

    assert pool.find(hashes(12, seed=1)) == old
    assert pool.find(hashes(12, seed=2)) == recent[:4]  # eight go at once


def test_the_first_of_equal_blocks_is_the_one_that_is_found() -> None:
    pool = BlockPool(4)
    first, second = computed(pool, 1), computed(pool, 1)

    pool.release(second)

    assert pool.find(hashes(1)) == first
    assert pool.num_available == 3
    pool.check_integrity([first])


def test_more_blocks_than_the_pool_has_are_an_error() -> None:
    with pytest.raises(IntegrityError):
        BlockPool(3).allocate(4)


@pytest.mark.parametrize(
    "tables",
    [
        pytest.param([[0]], id="a table is missing"),
        pytest.param([[0, 1], [1]], id="a block is in two tables with one reference"),
        pytest.param([[0, 1, 2]], id="a table holds a free block"),
    ],
)
def test_inconsistent_tables_are_noticed(tables: list[list[int]]) -> None:
    pool = BlockPool(4)
    pool.allocate(2)

    with pytest.raises(IntegrityError):
        pool.check_integrity(tables)


@pytest.mark.parametrize("seed", range(5))
def test_random_operations_keep_the_pool_consistent(seed: int) -> None:
    choose = random.Random(seed)
    pool = BlockPool(40)
    tables: list[list[int]] = []
    for _ in range(500):
        if tables and choose.random() < 0.4:
            pool.release(tables.pop(choose.randrange(len(tables))))
        chain = hashes(choose.randint(1, 9), choose.randint(1, 6))
        prefix = pool.find(chain)
        if len(chain) - len(prefix) + pool.num_idle(prefix) <= pool.num_available:
            pool.share(prefix)
            rest = pool.allocate(len(chain) - len(prefix), after=prefix[-1] if prefix else None)
            tables.append(prefix + rest)
            for block, digest in zip(tables[-1], chain, strict=True):
                if choose.random() < 0.9:
                    pool.register(block, digest)
        pool.check_integrity(tables)
    for table in tables:
        pool.release(table)
    pool.check_integrity([])


def sources(offset: int = 2, length: int = 5, first_row: int = 0, image: bytes = b"a") -> list[SpanSource]:
    return [SpanSource(ImageSpan(offset, length), first_row, image)]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(block_hash(root_hash(b"salt", 0), [1, 2], 0, sources()), id="salt"),
        pytest.param(block_hash(root_hash(b"", 1), [1, 2], 0, sources()), id="position variant"),
        pytest.param(block_hash(ROOT, [1, 3], 0, sources()), id="tokens"),
        pytest.param(block_hash(ROOT, [1, 2], 0, ()), id="no image"),
        pytest.param(block_hash(ROOT, [1, 2], 0, sources(image=b"b")), id="another image"),
        pytest.param(block_hash(ROOT, [1, 2], 0, sources(offset=1)), id="another place"),
        pytest.param(block_hash(ROOT, [1, 2], 0, sources(first_row=1)), id="other rows"),
        pytest.param(block_hash(ROOT, [1, 2], 0, sources() * 2), id="two images"),
    ],
)
def test_all_that_keys_and_values_depend_on_is_in_the_hash(other: bytes) -> None:
    assert block_hash(ROOT, [1, 2], 0, sources()) != other
    assert len(other) == 32


def test_a_hash_does_not_depend_on_anything_else() -> None:
    assert block_hash(ROOT, [1, 2], 0, sources()) == block_hash(ROOT, (1, 2), 0, sources())

"""The pool of KV blocks: which are in use, which are cached, and which are evicted first. Imports no torch.

A block is free, used or idle. A free block is empty. A used block is in as many block tables as its reference count
says. An idle block is in none, but a sequence can find its contents by hash and use them again. When free blocks run
out, idle blocks are evicted, the least recently used first. The pool knows nothing of tensors or sequences.

A sequence's blocks should be neighbours, since attention on CPU reads a run of neighbouring blocks in place. So a
sequence continues in the block after its last one, if that is free. Otherwise it takes blocks of the largest free run.
It starts far enough into that run to leave room for the sequence before it.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from itertools import chain

from foveal.engine.sequence import SpanSource

NUM_EVICTED_AT_ONCE = 8  # idle blocks evicted together, so that the freed blocks form a run

_FREE_RUN = re.compile(rb"\x01+")


class IntegrityError(Exception):
    """The engine's records contradict one another: a bug in the engine, never caused by a client."""


class BlockPool:
    """`num_blocks` blocks, numbered from 0."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._is_free = bytearray(b"\x01" * num_blocks)
        self._num_free = num_blocks
        self._num_references = [0] * num_blocks
        self._idle: OrderedDict[int, None] = OrderedDict()  # least recently used first
        self._hash_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}

    @property
    def num_available(self) -> int:
        """How many blocks `allocate` can return: free and idle ones."""
        return self._num_free + len(self._idle)

    @property
    def num_kept(self) -> int:
        """How many blocks are idle."""
        return len(self._idle)

    def has(self, block_hash: bytes) -> bool:
        """Whether `find` can find it."""
        return block_hash in self._block_of

    def num_idle(self, blocks: Iterable[int]) -> int:
        """How many of `blocks` are idle, so that sharing them makes fewer available."""
        return sum(block in self._idle for block in blocks)

    def find(self, block_hashes: Iterable[bytes]) -> list[int]:
        """The blocks of the longest cached prefix of a chain of hashes."""
        found = []
        for block_hash in block_hashes:
            block = self._block_of.get(block_hash)
            if block is None:
                break
            found.append(block)
        return found

    def share(self, blocks: Iterable[int]) -> None:
        """Take a reference to each of `blocks`, which `find` has just returned."""
        for block in blocks:
            self._num_references[block] += 1
            self._idle.pop(block, None)

    def allocate(self, num_blocks: int, after: int | None = None) -> list[int]:
        """Empty blocks with one reference each, as neighbours of each other and of `after` where possible.

        The caller has checked `num_available`.
        """
        if num_blocks > self.num_available:
            raise IntegrityError(f"{num_blocks} blocks asked for, {self.num_available} available")
        if num_blocks > self._num_free:
            self._evict(max(num_blocks - self._num_free, NUM_EVICTED_AT_ONCE))
        blocks = [] if after is None else self._take(after + 1, num_blocks)
        while len(blocks) < num_blocks:
            missing = num_blocks - len(blocks)
            blocks += self._take(self._roomiest(missing), missing)
        return blocks

    def register(self, block: int, block_hash: bytes) -> None:
        """Let other sequences find a used block that is full and computed. Of equal blocks the first is found."""
        if block_hash not in self._block_of and block not in self._hash_of:
            self._block_of[block_hash] = block
            self._hash_of[block] = block_hash

    def release(self, blocks: Sequence[int]) -> None:
        """Drop one reference to each. The last become idle first, because more sequences share the first ones."""
        for block in reversed(blocks):
            self._num_references[block] -= 1
            if self._num_references[block] == 0:
                if block in self._hash_of:
                    self._idle[block] = None
                else:
                    self._free(block)

    def check_integrity(self, block_tables: Iterable[Sequence[int]]) -> None:
        """Raise IntegrityError unless each block is free, idle, or in as many tables as its reference count says."""
        owners = Counter(block for table in block_tables for block in table)
        if any(self._num_references[block] != count for block, count in owners.items()):
            raise IntegrityError("a block's references are not the tables that hold it")
        if sum(self._num_references) != owners.total():
            raise IntegrityError("a block is referred to by no table")
        num_free = self._is_free.count(1)
        if num_free != self._num_free or num_free + len(self._idle) + len(owners) != self.num_blocks:
            raise IntegrityError("free, idle and used blocks are not all blocks")
        if any(map(self._is_free.__getitem__, chain(owners, self._idle))) or not self._idle.keys().isdisjoint(owners):
            raise IntegrityError("a block is in two states")
        if list(map(self._block_of.get, self._hash_of.values())) != list(self._hash_of):
            raise IntegrityError("a block's hash leads to another block")
        if len(self._block_of) != len(self._hash_of) or not self._idle.keys() <= self._hash_of.keys():
            raise IntegrityError("a hash leads to no block, or an idle block has no hash")

    def _take(self, start: int, max_num_blocks: int) -> list[int]:
        """Take the run of free blocks that begins at `start`, at most `max_num_blocks` of them."""
        run = _FREE_RUN.match(self._is_free, start, min(start + max_num_blocks, self.num_blocks))
        if run is None:
            return []
        stop = run.end()
        self._is_free[start:stop] = bytes(stop - start)
        self._num_free -= stop - start
        for block in range(start, stop):
            self._num_references[block] = 1
        return list(range(start, stop))

    def _roomiest(self, num_blocks: int) -> int:
        """Where in the largest free run to start: further in if a sequence before the run may grow into it."""
        start, stop = max((run.span() for run in _FREE_RUN.finditer(self._is_free)), key=lambda run: run[1] - run[0])
        may_grow_into = start > 0 and self._num_references[start - 1] > 0
        return start + (max(stop - start - num_blocks, 0) // 2 if may_grow_into else 0)

    def _evict(self, num_blocks: int) -> None:
        for _ in range(min(num_blocks, len(self._idle))):
            block, _ = self._idle.popitem(last=False)
            del self._block_of[self._hash_of.pop(block)]
            self._free(block)

    def _free(self, block: int) -> None:
        self._is_free[block] = 1
        self._num_free += 1


def root_hash(cache_salt: bytes, variant: int) -> bytes:
    """The parent of a sequence's first block: sequences of different salts or position variants share nothing.

    The model is not part of the hash, because the pool never outlives its model.
    """
    return hashlib.sha256(struct.pack("<q", variant) + cache_salt).digest()


def block_hash(parent: bytes, token_ids: Sequence[int], start: int, sources: Sequence[SpanSource]) -> bytes:
    """The SHA-256 of all that a block's keys and values depend on: the parent, its tokens, its image features.

    `start` is the position of the block's first token, `sources` the image spans that the block touches.
    """
    digest = hashlib.sha256(parent + struct.pack(f"<{len(token_ids)}q", *token_ids))
    for span, first_row, image_hash in sources:
        digest.update(struct.pack("<qqq", span.offset - start, span.length, first_row))
        digest.update(hashlib.sha256(image_hash).digest())
    return digest.digest()

"""Decides what each step computes: which tokens of which sequences, and which images they wait for. Imports no torch.

There are no phases. Some of a sequence's known tokens are computed. A step's token budget lets sequences catch up:
first those that lack one token (they are decoding), then the others. Chunked prefill, cached prefixes, preemption and
resumption are all the same case. A sequence waits for the images of its next chunk, so that its prompt is computed in
few chunks; `pace` and `rounds` say when they are encoded. Meanwhile the others go on.

The scheduler assigns blocks and slots of states, and pins images. It knows nothing of tensors, sampling or messages.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from foveal.engine.encoder_cache import EncoderCache
from foveal.engine.kv_cache import BlockPool, IntegrityError, block_hash, root_hash
from foveal.engine.sequence import ImageKey, Sequence
from foveal.engine.snapshot_points import end_of_prompt, snapshot_points
from foveal.engine.state_cache import StateCache
from foveal.engine.turns import Line, count_by_caller, first_to_yield, in_turns
from foveal.types import EngineStats, Image


@dataclass(frozen=True, slots=True)
class Limits:
    """A step's budgets, and what the model allows with images (see models.family.ImageTraits)."""

    max_num_seqs: int
    max_num_batched_tokens: int
    block_size: int
    whole_spans: bool = False
    rereads_images: bool = False


class Saved(NamedTuple):
    """A snapshot to be written: the state after the tokens before a position."""

    position: int
    slot: int
    block_hash: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """A step's share of one sequence: the tokens at positions [start, stop)."""

    sequence: Sequence
    start: int
    stop: int
    saves: tuple[Saved, ...] = ()  # ascending

    @property
    def is_last(self) -> bool:
        """Whether the sequence has then caught up, so that its next token is drawn."""
        return self.stop == self.sequence.num_tokens


@dataclass(frozen=True, slots=True)
class WantedImage:
    """An image that a running sequence waits for. Its pixels stay in place while `owner` is not aborted."""

    key: ImageKey
    image: Image
    owner: Sequence

    def is_missing(self, encoder_cache: EncoderCache) -> bool:
        """Whether it is still wanted: neither encoded nor given up since the step was planned."""
        return self.owner.status == "running" and encoder_cache.features(self.key) is None


@dataclass(slots=True)
class StepPlan:
    """What one step computes, and what is left of its budget while it is being planned."""

    num_tokens_left: int
    chunks: dict[int, Chunk] = field(default_factory=dict)  # by sequence id
    wanted: dict[ImageKey, WantedImage] = field(default_factory=dict)
    state_copies: dict[int, int] = field(default_factory=dict)  # slot -> the snapshot that it starts from
    too_large: list[Sequence] = field(default_factory=list)  # that do not fit into the pool even alone; they are done
    has_preempted: bool = False

    @property
    def num_streams(self) -> int:
        """How many sequences get a next token for one token computed."""
        return sum(chunk.stop - chunk.start == 1 for chunk in self.chunks.values())

    @property
    def num_prompt_tokens(self) -> int:
        return sum(chunk.stop - chunk.start for chunk in self.chunks.values()) - self.num_streams


class Scheduler:
    """The sequences that wait and run, over a block pool, an encoder cache and, for hybrid models, a state cache."""

    def __init__(
        self, limits: Limits, pool: BlockPool, encoder_cache: EncoderCache, states: StateCache | None = None
    ) -> None:
        self.limits = limits
        self.pool = pool
        self.encoder_cache = encoder_cache
        self.states = states
        self.sequences: dict[int, Sequence] = {}  # all that are not done, by sequence id
        self.waiting = Line()
        self.running: list[Sequence] = []  # in order of arrival
        self.num_preemptions = 0

    def add(self, sequence: Sequence) -> None:
        self.sequences[sequence.sequence_id] = sequence
        self.waiting.append(sequence)

    @property
    def stats(self) -> EngineStats:
        """The numbers at this moment."""
        return EngineStats(
            num_running=len(self.running),
            num_waiting=len(self.waiting),
            num_used_blocks=self.pool.num_blocks - self.pool.num_available,
            num_idle_blocks=self.pool.num_kept,
            num_preemptions=self.num_preemptions,
            num_encoded_crops=self.encoder_cache.num_encoded_crops,
        )

    @property
    def num_streams(self) -> int:
        """How many running sequences lack one token."""
        return sum(_lacks_one(sequence) for sequence in self.running)

    def schedule(self, max_prompt_tokens: int | None = None) -> StepPlan:
        """Spend one step's token budget: first on decoding sequences, then on prefilling ones, then on waiting ones.

        Callers take turns at the last two.

        max_prompt_tokens: for those that do not decode; as many as the limits allow if it is None.
        """
        num_tokens = self.limits.max_num_batched_tokens
        if max_prompt_tokens is not None:
            num_tokens = min(num_tokens, self.num_streams + max_prompt_tokens)
        plan = StepPlan(num_tokens)
        self._advance_each([sequence for sequence in self.running if _lacks_one(sequence)], plan)
        self._welcome(plan)
        self._advance_each(in_turns(sequence for sequence in self.running if not _lacks_one(sequence)), plan)
        if not plan.has_preempted:
            self._admit(plan)
        if self.states:
            for sequence_id, chunk in plan.chunks.items():
                plan.chunks[sequence_id] = replace(chunk, saves=tuple(self._saves(chunk, self.states)))
        return plan

    def update(self, plan: StepPlan) -> None:
        """Store the results of a plan that was carried out, except those of requests aborted since."""
        for chunk in plan.chunks.values():
            is_running = chunk.sequence.status == "running"
            if is_running:
                self._mark_computed(chunk)
            if self.states:
                for save in chunk.saves:
                    self.states.settle(save.block_hash, is_written=is_running)

    def finish(self, sequence: Sequence) -> None:
        """End a sequence, for whatever reason, and release its blocks and pins."""
        if sequence.status == "waiting":
            self.waiting.remove(sequence)
        else:
            self._stop_running(sequence)
        sequence.status = "done"
        del self.sequences[sequence.sequence_id]

    def check_integrity(self) -> None:
        """Raise IntegrityError unless blocks, pins and sequences agree."""
        self.pool.check_integrity(sequence.block_table for sequence in self.running)
        self.encoder_cache.check_integrity(sequence.sequence_id for sequence in self.running)
        if self.states:
            self.states.check_integrity(s.state_slot for s in self.running if s.state_slot is not None)
        listed = sorted(sequence.sequence_id for sequence in (*self.waiting, *self.running))
        if listed != sorted(self.sequences):
            raise IntegrityError("a sequence is neither waiting nor running, or both")

    # --- one sequence's share of a step -------------------------------------------------------------------------------

    def _advance_each(self, sequences: list[Sequence], plan: StepPlan) -> None:
        for sequence in sequences:
            if sequence.status == "running":  # not preempted earlier in this loop
                self._advance(sequence, plan)

    def _advance(self, sequence: Sequence, plan: StepPlan) -> None:
        start, stop = sequence.num_computed_tokens, self._reach(sequence, plan)
        if stop > start and self._make_room(sequence, stop, plan):
            plan.chunks[sequence.sequence_id] = Chunk(sequence, start, stop)
            plan.num_tokens_left -= stop - start

    def _reach(self, sequence: Sequence, plan: StepPlan) -> int:
        """The position up to which this step can compute the sequence. Also plans which images it waits for.

        The last token waits for the mask of the next.
        """
        start = sequence.num_computed_tokens
        known = sequence.num_tokens if sequence.guide is None or sequence.guide.is_ready else sequence.num_tokens - 1
        stop = min(known, start + max(plan.num_tokens_left, 0))
        if start < sequence.images_end or (self.limits.rereads_images and sequence.prompt.images):
            unready = self._first_unready(sequence, plan)
            if unready < stop:  # wait, unless the image must wait for room
                stop = unready if self.encoder_cache.is_full else start
            if self.limits.whole_spans:
                stop = _without_cutting(sequence, start, stop)
        return stop

    def _first_unready(self, sequence: Sequence, plan: StepPlan) -> int:
        """The position of the first span whose features this step lacks; the end of the sequence if it lacks none."""
        position = sequence.num_tokens
        for index, image in enumerate(sequence.prompt.images):
            if self.limits.rereads_images:
                needed_at = image.spans[0].offset
            else:
                ahead = (span.offset for span in image.spans if span.end > sequence.num_computed_tokens)
                needed_at = next(ahead, sequence.num_tokens)
            if needed_at < sequence.num_tokens and not self._is_ready(sequence, index, plan):
                position = min(position, max(needed_at, sequence.num_computed_tokens))
        return position

    def _is_ready(self, sequence: Sequence, index: int, plan: StepPlan) -> bool:
        """Whether the image's features are there. If not, the plan wants them, unless they have to wait for room."""
        key, image = sequence.image_key(index), sequence.prompt.images[index].image
        self.encoder_cache.pin(key, sequence.sequence_id)
        if self.encoder_cache.features(key) is not None:
            return True
        if not self.encoder_cache.is_full or sequence is self.running[0]:
            plan.wanted.setdefault(key, WantedImage(key, image, sequence))
        return False

    def _make_room(self, sequence: Sequence, stop: int, plan: StepPlan) -> bool:
        """Give the sequence blocks up to `stop`. May preempt other sequences; False if it lost its own blocks."""
        table = sequence.block_table
        num_blocks = self._num_blocks(stop) - len(table)
        while num_blocks > self.pool.num_available:
            if len(self.running) == 1:
                self._fail_too_large(sequence, plan)
                return False
            yielding = first_to_yield(self.running)
            self._preempt(yielding, plan)
            if yielding is sequence:
                return False
        if num_blocks > 0:
            table += self.pool.allocate(num_blocks, after=table[-1] if table else None)
        return True

    def _preempt(self, sequence: Sequence, plan: StepPlan) -> None:
        """Take the sequence's blocks and let it wait as its caller's first. Its tokens are computed again later."""
        chunk = plan.chunks.pop(sequence.sequence_id, None)
        if chunk:
            plan.num_tokens_left += chunk.stop - chunk.start
        self._stop_running(sequence)
        sequence.num_computed_tokens = 0
        sequence.status = "waiting"
        self.waiting.put_first(sequence)
        plan.has_preempted = True
        self.num_preemptions += 1

    def _fail_too_large(self, sequence: Sequence, plan: StepPlan) -> None:
        self.finish(sequence)
        plan.too_large.append(sequence)

    def _stop_running(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.pool.release(sequence.block_table)
        sequence.block_table = []
        if self.states and sequence.state_slot is not None:
            self.states.give_back(sequence.state_slot)
            sequence.state_slot = None
        for index in range(len(sequence.prompt.images)):
            self.encoder_cache.unpin(sequence.image_key(index), sequence.sequence_id)

    # --- waiting sequences --------------------------------------------------------------------------------------------

    def _welcome(self, plan: StepPlan) -> None:
        """Start a sequence of each caller of whom none runs. Whoever has two or more running makes room for it."""
        num_running = count_by_caller(self.running)
        while self.waiting and max(num_running.values(), default=0) > 1:
            sequence = self.waiting.next(num_running)
            if num_running[sequence.prompt.share]:
                return
            while not self._start(sequence, plan) and max(num_running.values()) > 1:
                yielding = first_to_yield(self.running)
                num_running[yielding.prompt.share] -= 1
                self._preempt(yielding, plan)
            if sequence.status == "waiting":
                return
            num_running[sequence.prompt.share] += 1

    def _admit(self, plan: StepPlan) -> None:
        """Start waiting sequences in turns, while the budget lasts and there are blocks for their known tokens."""
        while self.waiting and len(self.running) < self.limits.max_num_seqs and plan.num_tokens_left > 0:
            sequence = self.waiting.next(count_by_caller(self.running))
            if self._start(sequence, plan):
                self._advance(sequence, plan)
            elif self.running:
                return
            else:
                self._fail_too_large(sequence, plan)

    def _start(self, sequence: Sequence, plan: StepPlan) -> bool:
        """Whether there was room for a waiting sequence, so that it runs now."""
        if len(self.running) >= self.limits.max_num_seqs:
            return False
        prefix = self._cached_prefix(sequence)
        if self._num_blocks_wanted(sequence, prefix) > self.pool.num_available:
            return False
        self.waiting.remove(sequence)
        self._start_running(sequence, prefix, plan)
        return True

    def _start_running(self, sequence: Sequence, prefix: list[int], plan: StepPlan) -> None:
        self.pool.share(prefix)
        sequence.block_table = prefix
        sequence.num_computed_tokens = len(prefix) * self.limits.block_size
        if sequence.num_cached_tokens is None:
            sequence.num_cached_tokens = min(sequence.num_computed_tokens, sequence.num_prompt_tokens)
        if self.states:
            sequence.state_slot = self.states.take()
            if prefix:
                plan.state_copies[sequence.state_slot] = self.states.use(sequence.block_hashes[len(prefix) - 1])
        sequence.status = "running"
        insort(self.running, sequence, key=lambda s: s.sequence_id)

    def _num_blocks_wanted(self, sequence: Sequence, prefix: list[int]) -> int:
        """How many blocks must be available to start: for the sequence's tokens, and those that running sequences lack.

        Each running sequence counts with one block more than its tokens need. Otherwise its next tokens could preempt
        the new sequence at once.
        """
        promised = sum(self._num_blocks(s.num_tokens) + 1 - len(s.block_table) for s in self.running)
        return promised + self._num_blocks(sequence.num_tokens) - len(prefix) + self.pool.num_idle(prefix)

    def _cached_prefix(self, sequence: Sequence) -> list[int]:
        """The cached blocks of the sequence's first tokens. The last token is never among them: it must be computed."""
        block_size, allowed = self.limits.block_size, sequence.prompt.max_cached_tokens
        num_tokens = sequence.num_tokens - 1 if allowed is None else min(allowed, sequence.num_tokens - 1)
        if asked := sequence.prompt_logprob_range:  # the first logprob needs the state before its token
            num_tokens = min(num_tokens, max(asked.start - 1, 0))
        blocks = self.pool.find(self._block_hashes(sequence, num_tokens // block_size))
        if self.limits.whole_spans:
            stop = len(blocks) * block_size
            first_cut = next((s.span.offset for s in sequence.spans_within(stop - 1, stop) if s.span.end > stop), stop)
            blocks = blocks[: first_cut // block_size]
        return blocks[: self.states.longest(sequence.block_hashes[: len(blocks)])] if self.states else blocks

    # --- computed chunks ----------------------------------------------------------------------------------------------

    def _mark_computed(self, chunk: Chunk) -> None:
        sequence, block_size = chunk.sequence, self.limits.block_size
        sequence.num_computed_tokens = chunk.stop
        first, stop = chunk.start // block_size, chunk.stop // block_size
        if first < stop:
            hashes = self._block_hashes(sequence, stop)
            for index in range(first, stop):
                self.pool.register(sequence.block_table[index], hashes[index])
        if chunk.start < sequence.images_end and not self.limits.rereads_images:
            for index, image in enumerate(sequence.prompt.images):
                if image.spans[-1].end <= chunk.stop:
                    self.encoder_cache.unpin(sequence.image_key(index), sequence.sequence_id)

    def _saves(self, chunk: Chunk, states: StateCache) -> Iterator[Saved]:
        """The snapshots to take while the chunk is computed, as far as there is room for them."""
        sequence, block_size = chunk.sequence, self.limits.block_size
        for num_blocks in snapshot_points(sequence, chunk.start, chunk.stop, block_size):
            hashes = self._block_hashes(sequence, num_blocks)
            if sequence.last_snapshot:
                states.drop(sequence.last_snapshot)
                sequence.last_snapshot = None
            slot = states.reserve(hashes)
            if slot is None:
                continue
            if num_blocks > end_of_prompt(sequence, block_size):
                sequence.last_snapshot = hashes[-1]
            yield Saved(num_blocks * block_size, slot, hashes[-1])

    def _block_hashes(self, sequence: Sequence, num_blocks: int) -> list[bytes]:
        """The chain hashes of the first full blocks, each computed once."""
        hashes, size = sequence.block_hashes, self.limits.block_size
        parent = hashes[-1] if hashes else root_hash(sequence.prompt.cache_salt, sequence.positions.variant)
        for start in range(len(hashes) * size, num_blocks * size, size):
            token_ids = sequence.token_ids[start : start + size]
            parent = block_hash(parent, token_ids, start, sequence.spans_within(start, start + size))
            hashes.append(parent)
        return hashes[:num_blocks]

    def _num_blocks(self, num_tokens: int) -> int:
        return -(-num_tokens // self.limits.block_size)


def _lacks_one(sequence: Sequence) -> bool:
    return sequence.num_tokens - sequence.num_computed_tokens == 1


def _without_cutting(sequence: Sequence, start: int, stop: int) -> int:
    """`stop`, moved out of the span that it would cut: before the span, or after it if the chunk would be empty.

    After the span, the chunk exceeds the token budget by less than one span.
    """
    for span, _, _ in sequence.spans_within(stop - 1, stop) if stop > start else ():
        if span.end > stop:
            return span.offset if span.offset > start else span.end
    return stop

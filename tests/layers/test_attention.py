"""Every backend gives plain attention over each sequence's own tokens, wherever their blocks are."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from foveal.layers.attention.backends import attention_backend
from foveal.layers.attention.batch import AttentionBackend, AttentionBatch
from foveal.layers.attention.cpu import MAX_RUNS, CachedTokens, InPlace, cached_runs
from foveal.layers.attention.gathering import Gathering
from foveal.layers.attention.native import Native
from foveal.layers.attention.rows import write_kv
from foveal.layers.native.library import library, pool

CPU = torch.device("cpu")
BLOCK_SIZE = 4
SCALE = 0.3
BACKENDS: dict[str, AttentionBackend] = {"in_place": InPlace(CPU), "gathering": Gathering(CPU)}
if library():
    BACKENDS["native"] = attention_backend(CPU, torch.float32)


@dataclass(frozen=True)
class Rows:
    """One sequence of a step: its last `num_rows` of `seq_len` tokens are computed, the rest is cached."""

    num_rows: int
    seq_len: int


@dataclass(frozen=True)
class Step:
    """A step's inputs, with all keys and values of each sequence kept beside for the reference."""

    batch: AttentionBatch
    query: Tensor
    key: Tensor
    value: Tensor
    kv_layer: Tensor
    all_keys: list[Tensor]
    all_values: list[Tensor]

    def attended_by(self, backend: AttentionBackend, window: int | None = None) -> Tensor:
        attend = backend.plan(self.batch, [window])[window]
        return attend(self.query, self.key, self.value, self.kv_layer, SCALE)


TABLE_ORDERS: dict[str, Callable[[list[int]], list[int]]] = {
    "one run": lambda blocks: blocks,
    "reversed": lambda blocks: blocks[::-1],
    "two runs": lambda blocks: blocks[len(blocks) // 2 :] + blocks[: len(blocks) // 2],
    "scattered": lambda blocks: random.Random(0).sample(blocks, len(blocks)),
}

MIXES = {
    "one token": [Rows(1, 1)],
    "prefill": [Rows(9, 9)],
    "decode": [Rows(1, 50), Rows(1, 3), Rows(1, 16)],
    "chunk after a cached prefix": [Rows(6, 30)],
    "chunk after a block's end": [Rows(5, 13)],
    "mixed": [Rows(1, 45), Rows(7, 7), Rows(2, 41), Rows(1, 9), Rows(16, 32)],
    "longer than a tile": [Rows(70, 200), Rows(1, 65), Rows(64, 64)],
}


def step(
    mix: list[Rows],
    order: str = "one run",
    num_heads: int = 4,
    num_kv_heads: int = 2,
    head_dim: int = 8,
    dtype: torch.dtype = torch.float32,
) -> Step:
    torch.manual_seed(0)
    keys = [torch.randn(rows.seq_len, num_kv_heads, head_dim, dtype=dtype) for rows in mix]
    values = [torch.randn(rows.seq_len, num_kv_heads, head_dim, dtype=dtype) for rows in mix]
    tables, num_blocks = [], 1  # block 0 stays unused: a wrong zero shows
    for rows in mix:
        needed = -(-rows.seq_len // BLOCK_SIZE)
        tables.append(TABLE_ORDERS[order](list(range(num_blocks, num_blocks + needed))))
        num_blocks += needed
    slots = [slots_of(table, rows.seq_len) for rows, table in zip(mix, tables, strict=True)]
    kv_layer = torch.full((2, num_blocks, BLOCK_SIZE, num_kv_heads, head_dim), 1e4, dtype=dtype)  # stale contents
    new = [slice(rows.seq_len - rows.num_rows, None) for rows in mix]
    for rows, slot, key, value in zip(mix, slots, keys, values, strict=True):
        cached = slice(rows.seq_len - rows.num_rows)
        write_kv(kv_layer, key[cached], value[cached], slot[cached])
    starts = torch.tensor([0, *(rows.num_rows for rows in mix)]).cumsum(0).tolist()
    return Step(
        batch=AttentionBatch(
            query_start_loc=starts,
            seq_lens=[rows.seq_len for rows in mix],
            block_tables=tables,
            slot_mapping=torch.cat([slot[part] for slot, part in zip(slots, new, strict=True)]).tolist(),
            block_size=BLOCK_SIZE,
        ),
        query=torch.randn(starts[-1], num_heads, head_dim, dtype=dtype),
        key=torch.cat([key[part] for key, part in zip(keys, new, strict=True)]),
        value=torch.cat([value[part] for value, part in zip(values, new, strict=True)]),
        kv_layer=kv_layer,
        all_keys=keys,
        all_values=values,
    )


def native_backend(num_threads: int) -> Native:
    found = library()
    if found is None:
        pytest.skip("there is no native code in this installation")
    return Native(found, pool(num_threads))


def slots_of(block_table: list[int], num_tokens: int) -> Tensor:
    return torch.tensor([block_table[t // BLOCK_SIZE] * BLOCK_SIZE + t % BLOCK_SIZE for t in range(num_tokens)])


def reference(given: Step, window: int | None = None) -> Tensor:
    """Softmax attention by its definition, a row and a head at a time, in float64."""
    output = torch.empty_like(given.query, dtype=torch.float64)
    group = given.query.shape[1] // given.key.shape[1]
    for i, (keys, values) in enumerate(zip(given.all_keys, given.all_values, strict=True)):
        begin, end = given.batch.query_start_loc[i : i + 2]
        for row in range(begin, end):
            seen = positions_seen(given.batch, i, len(keys) - (end - row), window)
            for head in range(given.query.shape[1]):
                key = keys[seen, head // group].double()
                weights = (key @ given.query[row, head].double() * SCALE).softmax(0)
                output[row, head] = weights @ values[seen, head // group].double()
    return output


def positions_seen(batch: AttentionBatch, i: int, position: int, window: int | None) -> list[int]:
    """What the token at `position` of sequence i attends to: by causality, its two-way span and the window."""
    own = [span for span in (batch.two_way_spans[i] if batch.two_way_spans else ()) if span[0] <= position < span[1]]
    last = max([position, *(end - 1 for _, end in own)])
    return [key for key in range(last + 1) if window is None or key > position - window]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", TABLE_ORDERS)
@pytest.mark.parametrize("mix", MIXES)
def test_attention_is_that_of_the_definition(backend: str, order: str, mix: str) -> None:
    given = step(MIXES[mix], order)

    output = given.attended_by(BACKENDS[backend])

    torch.testing.assert_close(output.double(), reference(given), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", TABLE_ORDERS)
@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("window", [1, 3, 8, 100])
def test_a_window_hides_what_lies_further_back(backend: str, order: str, mix: str, window: int) -> None:
    given = step(MIXES[mix], order)

    output = given.attended_by(BACKENDS[backend], window)

    torch.testing.assert_close(output.double(), reference(given, window), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("window", [None, 3, 8])
@pytest.mark.parametrize(
    ("rows", "spans"),
    [
        (Rows(9, 9), [(2, 7)]),
        (Rows(12, 30), [(4, 9), (18, 24), (25, 30)]),
        (Rows(12, 30), [(3, 10)]),
        (Rows(1, 30), [(3, 10)]),
    ],
)
def test_every_token_of_a_two_way_span_attends_to_all_of_it(
    backend: str, window: int | None, rows: Rows, spans: list[tuple[int, int]]
) -> None:
    given = step([rows, Rows(3, 20)], "two runs")
    widened = replace(given, batch=replace(given.batch, two_way_spans=[spans, []]))

    output = widened.attended_by(BACKENDS[backend], window)

    torch.testing.assert_close(output.double(), reference(widened, window), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("num_heads", "num_kv_heads"), [(1, 1), (3, 3), (6, 2), (4, 1)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_heads_share_keys_in_every_grouping_and_dtype(
    backend: str, num_heads: int, num_kv_heads: int, dtype: torch.dtype, tolerance: float
) -> None:
    if backend == "native" and dtype != torch.float32:
        pytest.skip("it covers float32")
    given = step(MIXES["mixed"], "two runs", num_heads, num_kv_heads, dtype=dtype)

    output = given.attended_by(BACKENDS[backend])

    assert output.dtype == dtype
    torch.testing.assert_close(output.double(), reference(given), atol=tolerance, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("head_dim", [1, 36, 64, 80, 128])
def test_heads_may_have_any_width(backend: str, head_dim: int) -> None:
    given = step(MIXES["longer than a tile"], "two runs", head_dim=head_dim)

    output = given.attended_by(BACKENDS[backend])

    torch.testing.assert_close(output.double(), reference(given), atol=2e-5, rtol=0)


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("window", [None, 70])
def test_a_row_does_not_depend_on_what_is_computed_beside_it(num_threads: int, window: int | None) -> None:
    native = native_backend(num_threads)
    together = step(MIXES["longer than a tile"])
    sequence, rows = 0, slice(30, 70)
    table = together.batch.block_tables[sequence]
    alone = AttentionBatch([0, 40], [200], [table], together.batch.slot_mapping[rows], BLOCK_SIZE)
    query, key, value = (x[rows] for x in (together.query, together.key, together.value))
    part = replace(together, batch=alone, query=query, key=key, value=value)

    beside = together.attended_by(native, window)[rows]

    assert torch.equal(part.attended_by(native, window), beside)


@pytest.mark.parametrize("backend", BACKENDS)
def test_queries_and_keys_may_be_parts_of_one_tensor(backend: str) -> None:
    given = step(MIXES["mixed"])
    joined = torch.cat([given.query, given.key, given.value], dim=1)
    query, key, value = torch.split(joined, [4, 2, 2], dim=1)

    output = replace(given, query=query, key=key, value=value).attended_by(BACKENDS[backend])

    torch.testing.assert_close(output.double(), reference(given), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_plan_serves_every_layer_of_a_step(backend: str) -> None:
    first, second = step(MIXES["mixed"]), step(MIXES["mixed"])
    attend = BACKENDS[backend].plan(first.batch, [None])[None]

    attend(first.query, first.key, first.value, first.kv_layer, SCALE)
    output = attend(second.query, second.key, second.value, second.kv_layer, SCALE)

    torch.testing.assert_close(output.double(), reference(second), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_plan_serves_layers_of_every_window(backend: str) -> None:
    given = step(MIXES["mixed"])
    attends = BACKENDS[backend].plan(given.batch, [None, 3])

    for window, attend in attends.items():
        output = attend(given.query, given.key, given.value, given.kv_layer, SCALE)
        torch.testing.assert_close(output.double(), reference(given, window), atol=1e-5, rtol=0)
    assert list(attends) == [None, 3]


def test_written_keys_and_values_lie_in_their_slots_and_nowhere_else() -> None:
    kv_layer = torch.zeros(2, 3, BLOCK_SIZE, 1, 2)

    write_kv(kv_layer, torch.ones(2, 1, 2), torch.full((2, 1, 2), 2.0), torch.tensor([5, 10]))

    assert kv_layer[0, ..., 0, 0].tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert kv_layer[1, ..., 0, 1].tolist() == [[0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]]


@pytest.mark.parametrize(
    ("block_table", "start", "stop", "runs"),
    [
        ([], 0, 0, []),
        ([5], 0, 3, [(slice(5, 6), 3)]),
        ([5, 6, 7], 0, 12, [(slice(5, 8), 12)]),
        ([5, 6, 9], 0, 9, [(slice(5, 7), 8), (slice(9, 10), 1)]),
        ([2, 1], 0, 8, [(slice(2, 3), 4), (slice(1, 2), 4)]),
        ([5, 6, 7], 5, 7, [(slice(6, 7), 2, 1)]),
        ([5, 6, 9], 6, 9, [(slice(6, 7), 2, 2), (slice(9, 10), 1)]),
        ([5, 6], 3, 3, []),
    ],
)
def test_neighbouring_blocks_are_read_as_one_run(
    block_table: list[int], start: int, stop: int, runs: list[tuple[slice, int, int]]
) -> None:
    assert cached_runs(block_table, start, stop, BLOCK_SIZE) == tuple(CachedTokens(*run) for run in runs)


def test_a_scattered_table_is_gathered_at_once() -> None:
    block_table = list(range(0, 2 * MAX_RUNS + 2, 2))

    [gathered] = cached_runs(block_table, 0, len(block_table) * BLOCK_SIZE, BLOCK_SIZE)

    assert isinstance(gathered.blocks, Tensor)
    assert gathered.blocks.tolist() == block_table

"""layers/native: the compiled step gives what torch's own path gives, for every kind of decoder and odd sizes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from foveal.engine.runner import compute
from foveal.layers.attention.backends import attention_backend
from foveal.layers.attention.batch import AttentionBatch
from foveal.layers.native import library as native_library
from foveal.layers.native.decoder import MAX_ROWS, NativeDecoder, native_decoder
from foveal.layers.native.library import library
from foveal.models.family import InputBatch, Model
from foveal.models.registry import load_model
from tests.parity.text import KINDS, LONG_ROPE, text_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="without a compiler there is no native step")

BLOCK_SIZE = 16
FEW_ROWS = 16  # of step.h: longer steps are computed in another way
CPU = torch.device("cpu")
GROUPS = {"one to one": (4, 4), "pairs": (4, 2), "threes": (3, 1), "sevens": (14, 2)}  # query and key-value heads
HEAD_DIMS = (16, 48, 64, 128)
EIGHT_FACTORS = {"short_factor": [1.0, 1.1, 1.2, 1.3] * 2, "long_factor": [1.5, 3.0, 4.5, 6.0] * 2}
# Of a row whose largest number is about one, to 16 bits. Where the two ways differ in a float's last bit, a number may
# be rounded to its other neighbour.
A_ROUNDING = 2.0**-15
WITH_HEADS_OF_16: dict[str, dict[str, Any]] = {
    "phi3 long": {"hidden_size": 64, "rope_parameters": {**LONG_ROPE, **EIGHT_FACTORS}},
}


class Twin:
    """Sequences that two ways of computing a step go on with, each over a cache of its own with the same contents."""

    def __init__(self, model: Model, seq_lens: Sequence[int]) -> None:
        self.model = model
        self.seq_lens = list(seq_lens)
        num_layers, num_kv_heads, head_dim = model.decoder.kv_shape
        per_sequence = max(seq_lens) // BLOCK_SIZE + 10  # room for what comes
        num_blocks = per_sequence * len(seq_lens)
        order = torch.randperm(num_blocks, generator=torch.Generator().manual_seed(1)).tolist()
        self.tables = [order[i * per_sequence : (i + 1) * per_sequence] for i in range(len(seq_lens))]
        shape = (num_layers, 2, num_blocks, BLOCK_SIZE, num_kv_heads, head_dim)
        self.torch_cache = torch.randn(shape, generator=torch.Generator().manual_seed(2))
        self.native_cache = self.torch_cache.clone()
        native = native_decoder(model.decoder, self.native_cache, BLOCK_SIZE)
        assert native is not None
        self.native: NativeDecoder = native

    def step(
        self, num_new: Sequence[int], spans: Sequence[Sequence[tuple[int, int]]] = ()
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """So many new tokens of each sequence, both ways: hidden states [T, W]. spans: that attend both ways."""
        batch = self.batch(num_new, spans)
        with torch.inference_mode():
            assert self.native.covers(batch.attention, None)
            expected = compute(self.model, batch, attention_backend(CPU, torch.float32), self.torch_cache)
        return self.computed(batch), expected

    def computed(self, batch: InputBatch) -> torch.Tensor:
        """By the native step alone."""
        backend = attention_backend(CPU, torch.float32)
        with torch.inference_mode():
            return compute(self.model, batch, backend, self.native_cache, self.native)

    def batch(self, num_new: Sequence[int], spans: Sequence[Sequence[tuple[int, int]]] = ()) -> InputBatch:
        """Sequences behind the last of `num_new` are left out."""
        starts, self.seq_lens = self.seq_lens, [a + b for a, b in zip(self.seq_lens, num_new, strict=False)]
        ranges = list(zip(starts, self.seq_lens, self.tables, strict=False))
        slots = [
            table[at // BLOCK_SIZE] * BLOCK_SIZE + at % BLOCK_SIZE
            for start, stop, table in ranges
            for at in range(start, stop)
        ]
        ends = torch.tensor([0, *num_new]).cumsum(0).tolist()
        positions = torch.cat([torch.arange(start, stop) for start, stop, _ in ranges])
        tables = self.tables[: len(num_new)]
        return InputBatch(
            3 + positions * 7 % 290,
            positions[None],
            (),
            AttentionBatch(ends, self.seq_lens, tables, slots, BLOCK_SIZE, spans),
        )


def in_int8(kind: str, tmp_path: Path) -> Model:
    reference = text_checkpoint(kind, tmp_path, hidden_size=64, intermediate_size=96)
    return load_model(reference.folder, CPU, torch.float32, policy=lambda facts: "int8")


def assert_agrees(model: Model, seq_lens: Sequence[int], *steps: Sequence[int], atol: float = 2e-5) -> None:
    twin = Twin(model, seq_lens)
    for num_new in steps:
        got, expected = twin.step(num_new)
        torch.testing.assert_close(got, expected, atol=atol, rtol=2e-5)
    torch.testing.assert_close(twin.native_cache, twin.torch_cache, atol=atol, rtol=2e-5)


def test_the_step_is_built_wherever_there_is_a_compiler() -> None:
    assert library() is not None


@pytest.mark.parametrize("kind", ["qwen3_5_text", "gemma4_text", "granite"])
def test_a_decoder_of_another_kind_is_left_to_torch(kind: str, tmp_path: Path) -> None:
    model = text_checkpoint(kind, tmp_path, hidden_size=64).ours

    assert native_decoder(model.decoder, torch.zeros(1, 2, 1, BLOCK_SIZE, 2, 32), BLOCK_SIZE) is None


@pytest.mark.parametrize(
    "kind", [kind for kind in sorted(KINDS) if not kind.startswith(("qwen3_5", "gemma4", "granite"))]
)
def test_every_kind_of_decoder_agrees(kind: str, tmp_path: Path) -> None:
    model = text_checkpoint(kind, tmp_path, **WITH_HEADS_OF_16.get(kind, {"hidden_size": 64})).ours

    assert_agrees(model, [0, 30], [5, 1], [1, 1], [1, 1])


@pytest.mark.parametrize("heads", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_groups_of_heads_and_widths_agree(heads: tuple[int, int], head_dim: int, tmp_path: Path) -> None:
    num_heads, num_kv_heads = heads
    model = text_checkpoint(
        "qwen3",
        tmp_path,
        num_attention_heads=num_heads,
        num_key_value_heads=num_kv_heads,
        head_dim=head_dim,
        hidden_size=36,
        intermediate_size=37,
    ).ours

    assert_agrees(model, [7, 70], [1, 1], [1, 1])


@pytest.mark.parametrize("kind", ["llama with biases", "qwen3", "phi3", "gemma3_text"])
@pytest.mark.parametrize("form", ["int8", "int4"])
def test_weights_of_fewer_bits_agree(form: str, kind: str, tmp_path: Path) -> None:
    shape = {"hidden_size": 64, "intermediate_size": 96}
    reference = text_checkpoint(kind, tmp_path, **shape)
    model = load_model(reference.folder, CPU, torch.float32, policy=lambda facts: form)

    assert_agrees(model, [0, 30, 9], [5, 1, 4], [1, 1, 1], atol=10 * A_ROUNDING)


@pytest.mark.parametrize("form", ["plain", "int8", "int4"])
@pytest.mark.parametrize("num_rows", [1, 3, MAX_ROWS + 1])
@pytest.mark.parametrize("kind", ["qwen2", "gemma3_text with capped logits"])
def test_logits_agree(kind: str, num_rows: int, form: str, tmp_path: Path) -> None:
    reference = text_checkpoint(kind, tmp_path, hidden_size=64, intermediate_size=64)
    twin = Twin(load_model(reference.folder, CPU, torch.float32, policy=lambda facts: form), [4])
    hidden = torch.randn(num_rows, 64, generator=torch.Generator().manual_seed(num_rows))

    with torch.inference_mode():
        got, expected = twin.native.logits(hidden), twin.model.decoder.logits(hidden)

    torch.testing.assert_close(got, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("num_rows", [1, 2, 3, 4, 5, 7, 8, 17, MAX_ROWS])
def test_any_number_of_rows_agrees(num_rows: int, tmp_path: Path) -> None:
    model = text_checkpoint("qwen3", tmp_path).ours

    assert_agrees(model, [*range(10, 10 + num_rows)], [1] * num_rows)


@pytest.mark.parametrize("seq_len", [0, 1, 15, 16, 63, 64, 65, 200])
def test_any_length_agrees(seq_len: int, tmp_path: Path) -> None:
    model = text_checkpoint("llama", tmp_path).ours

    assert_agrees(model, [seq_len, 3], [1, 1], [2, 1])


@pytest.mark.parametrize("kind", ["llama with biases", "qwen3", "phi3", "gemma3_text"])
def test_prompts_beside_streams_agree(kind: str, tmp_path: Path) -> None:
    assert_agrees(in_int8(kind, tmp_path), [0, 30, 9, 70], [40, 1, 5, 20], [90, 1, 1, 1], atol=10 * A_ROUNDING)


def test_a_prompt_in_blocks_of_four_bits_agrees(tmp_path: Path) -> None:
    reference = text_checkpoint("qwen3", tmp_path, hidden_size=64, intermediate_size=96)
    model = load_model(reference.folder, CPU, torch.float32, policy=lambda facts: "int4")

    assert_agrees(model, [0, 30], [70, 1], atol=10 * A_ROUNDING)


@pytest.mark.parametrize("others", [1, FEW_ROWS, MAX_ROWS + 40])
def test_a_streams_numbers_do_not_depend_on_what_is_beside_it(others: int, tmp_path: Path) -> None:
    model = in_int8("gemma3_text", tmp_path)
    alone, beside = Twin(model, [70, 9]), Twin(model, [70, 9])

    got, _ = beside.step([1, others])
    expected = alone.computed(alone.batch([1]))

    assert torch.equal(got[0], expected[0])


@pytest.mark.parametrize("num_rows", [6, FEW_ROWS + 9])
def test_two_way_spans_agree(num_rows: int, tmp_path: Path) -> None:
    twin = Twin(in_int8("gemma3_text", tmp_path), [20])

    got, expected = twin.step([num_rows], spans=[[(2, 12), (22, 25)]])

    torch.testing.assert_close(got, expected, atol=10 * A_ROUNDING, rtol=2e-5)


def test_what_is_not_covered_is_torchs(tmp_path: Path) -> None:
    twin = Twin(text_checkpoint("qwen3", tmp_path).ours, [4])
    long = AttentionBatch([0, MAX_ROWS + 1], [MAX_ROWS + 5], twin.tables, range(MAX_ROWS + 1), BLOCK_SIZE)
    plain = AttentionBatch([0, 1], [5], twin.tables, [4], BLOCK_SIZE)

    assert not twin.native.covers(long, None)
    assert not twin.native.covers(plain, lambda layer, x_TW: x_TW)
    assert native_decoder(twin.model.decoder, twin.native_cache.bfloat16(), BLOCK_SIZE) is None


def test_threads_end_with_their_decoder(tmp_path: Path) -> None:
    def num_threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    model = text_checkpoint("qwen3", tmp_path).ours
    assert_agrees(model, [4], [1])  # whatever torch starts has started
    before = num_threads()
    for _ in range(5):
        assert_agrees(model, [4], [1])

    assert num_threads() <= before


def test_a_library_of_another_source_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_library, "source_hash", lambda: "of yesterday")
    library.cache_clear()
    try:
        assert library() is None
    finally:
        library.cache_clear()

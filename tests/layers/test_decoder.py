"""The decoder layer against the reference implementation, on random weights, and what a step's context must carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import MistralConfig, MistralForCausalLM, Phi3Config
from transformers.models.phi3.modeling_phi3 import Phi3DecoderLayer

from foveal.engine.runner import compute
from foveal.layers.attention.backends import attention_backend
from foveal.layers.attention.batch import Attend, AttentionBatch
from foveal.layers.attention.rows import write_kv
from foveal.layers.decoder import Decoder, DecoderConfig, DecoderLayer
from foveal.layers.linear.load import Weights
from foveal.layers.step import StepContext
from foveal.models.family import InputBatch, Model, SequenceSlice

NUM_ROWS, WIDTH, BLOCK_SIZE = 10, 32, 4
CPU = torch.device("cpu")


@pytest.mark.parametrize("num_kv_heads", [4, 2])
def test_a_layer_gives_the_reference_hidden_states(num_kv_heads: int) -> None:
    torch.manual_seed(0)
    config = Phi3Config(
        hidden_size=WIDTH,
        intermediate_size=48,
        num_attention_heads=4,
        num_key_value_heads=num_kv_heads,
        attn_implementation="eager",
        pad_token_id=0,
    )
    reference = Phi3DecoderLayer(config, layer_idx=0).eval()
    x = torch.randn(NUM_ROWS, WIDTH)
    settings = DecoderConfig.read(config.to_dict())
    positions_RT = torch.arange(NUM_ROWS)[None]
    turn = settings.rope(positions_RT)
    weights = Weights({f"0.{n}": t for n, t in reference.state_dict().items()})
    layer = DecoderLayer.load(weights, "0", settings, number=0, index=0)
    batch = AttentionBatch([0, NUM_ROWS], [NUM_ROWS], [[0]], range(NUM_ROWS), block_size=16)
    attends = attention_backend(CPU, torch.float32).plan(batch, [None])
    step = StepContext(positions_RT, batch, attends, torch.zeros(1, 2, 1, 16, num_kv_heads, 8))

    with torch.inference_mode():
        y = layer(x, {None: turn}, step)
        cos, sin = (part.transpose(0, 1) for part in turn)
        mask = torch.full((1, 1, NUM_ROWS, NUM_ROWS), -torch.inf).triu(1)
        expected = reference(x[None], attention_mask=mask, position_embeddings=(cos, sin))

    torch.testing.assert_close(y, torch.as_tensor(expected[0]).reshape(y.shape), atol=1e-5, rtol=0)


# --- a step's context -------------------------------------------------------------------------------------------------


def decoder(layer_types: Sequence[str] = ("full_attention",) * 3) -> Decoder:
    """Random, with a window of 3 tokens in the layers that slide."""
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=50,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=len(layer_types),
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=3,
    )
    settings = DecoderConfig.read({**config.to_dict(), "layer_types": layer_types})
    tensors = MistralForCausalLM(config).eval().state_dict()
    return Decoder.load(Weights(tensors), "model", "lm_head", settings)


def decoding(tables: list[list[int]], seq_lens: list[int]) -> AttentionBatch:
    """A row for each sequence."""
    ends = [seq_len - 1 for seq_len in seq_lens]
    slots = [table[end // BLOCK_SIZE] * BLOCK_SIZE + end % BLOCK_SIZE for table, end in zip(tables, ends, strict=True)]
    return AttentionBatch(range(len(tables) + 1), seq_lens, tables, slots, BLOCK_SIZE)


@dataclass
class Counting:
    """A backend that notes what it plans, and how often a layer then attends."""

    planned: list[list[int | None]] = field(default_factory=list)
    num_attended: int = 0

    def plan(self, batch: AttentionBatch, windows: Sequence[int | None]) -> dict[int | None, Attend]:
        self.planned.append(list(windows))
        return dict.fromkeys(windows, self._attend)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, kv_layer: Tensor, scale: float) -> Tensor:
        self.num_attended += 1
        return query


@pytest.mark.parametrize(
    ("layer_types", "windows"),
    [
        pytest.param(["full_attention"] * 4, [None], id="full"),
        pytest.param(["sliding_attention"] * 4, [3], id="sliding"),
        pytest.param(["sliding_attention", "full_attention"] * 2, [3, None], id="both"),
    ],
)
def test_attention_is_planned_once_a_step_for_all_layers(layer_types: list[str], windows: list[int | None]) -> None:
    model, backend = Model(decoder(layer_types)), Counting()
    batch = InputBatch(
        torch.tensor([4, 5]),
        torch.tensor([[6, 2]]),
        (SequenceSlice(0, 1, 6, ()), SequenceSlice(1, 1, 2, ())),
        decoding([[0, 1], [2]], [7, 3]),
    )

    for _ in range(2):
        compute(model, batch, backend, torch.zeros(4, 2, 3, BLOCK_SIZE, 2, 8))

    assert backend.planned == [windows, windows]
    assert backend.num_attended == 2 * len(layer_types)


@dataclass(frozen=True)
class StayingInPlace:
    """A backend for decoding rows as a captured graph needs it: a plan only overwrites the tensors that it reads."""

    tables_SB: Tensor
    seq_lens_S: Tensor
    slots_S: Tensor

    @classmethod
    def of(cls, num_sequences: int, num_blocks: int) -> StayingInPlace:
        tables_SB = torch.zeros(num_sequences, num_blocks, dtype=torch.int64)
        return cls(tables_SB, tables_SB[:, 0].clone(), tables_SB[:, 0].clone())

    def plan(self, batch: AttentionBatch, windows: Sequence[int | None]) -> dict[int | None, Attend]:
        for row, table in zip(self.tables_SB, batch.block_tables, strict=True):
            row[: len(table)] = torch.tensor(table)
        self.seq_lens_S.copy_(torch.tensor(batch.seq_lens))
        self.slots_S.copy_(torch.tensor(batch.slot_mapping))
        return dict.fromkeys(windows, self._attend)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, kv_layer: Tensor, scale: float) -> Tensor:
        write_kv(kv_layer, key, value, self.slots_S)
        keys_SKLD, values_SKLD = kv_layer[:, self.tables_SB].flatten(2, 3).transpose(2, 3)
        is_seen = torch.arange(keys_SKLD.shape[2]) < self.seq_lens_S[:, None, None, None]
        output = F.scaled_dot_product_attention(
            query.unsqueeze(2), keys_SKLD, values_SKLD, attn_mask=is_seen, scale=scale, enable_gqa=True
        )
        return output.squeeze(2)


@torch.inference_mode()
def test_a_context_whose_tensors_are_overwritten_in_place_serves_the_next_step() -> None:
    model = decoder()
    steps = [
        ([4, 5], [6, 2], decoding([[0, 1], [2]], [7, 3])),
        ([9, 7], [3, 8], decoding([[3], [4, 1, 2]], [4, 9])),
    ]
    filled = torch.randn(3, 2, 5, BLOCK_SIZE, 2, 8)
    kept_kv, fresh_kv, backend = filled.clone(), filled.clone(), StayingInPlace.of(2, 3)
    x_TW, positions_RT = torch.empty(2, WIDTH), torch.empty(1, 2, dtype=torch.int64)
    kept = StepContext(positions_RT, steps[0][2], backend.plan(steps[0][2], model.windows), kept_kv)

    for token_ids, positions, batch in steps:
        backend.plan(batch, model.windows)
        x_TW.copy_(model.embed(torch.tensor(token_ids)))
        positions_RT.copy_(torch.tensor([positions]))
        hidden = model.decode(x_TW, kept)

        attends = attention_backend(CPU, torch.float32).plan(batch, model.windows)
        fresh = StepContext(torch.tensor([positions]), batch, attends, fresh_kv)
        expected = model.decode(model.embed(torch.tensor(token_ids)), fresh)
        torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(kept_kv, fresh_kv, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_the_hook_after_a_layer_gets_its_number_and_changes_the_next_layers_input() -> None:
    model, batch = decoder(), decoding([[0]], [1])
    attends = attention_backend(CPU, torch.float32).plan(batch, model.windows)
    layers: list[int] = []

    def forget(layer: int, x_TW: Tensor) -> Tensor:
        layers.append(layer)
        return torch.ones_like(x_TW)

    step = StepContext(torch.tensor([[0]]), batch, attends, torch.zeros(3, 2, 1, BLOCK_SIZE, 2, 8), forget)
    hidden = model.decode(torch.randn(1, WIDTH), step)

    assert layers == [0, 1, 2]
    torch.testing.assert_close(hidden, model.norm(torch.ones(1, WIDTH)))

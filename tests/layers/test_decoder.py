"""The decoder layer against the reference implementation, on random weights."""

from __future__ import annotations

import pytest
import torch
from transformers import Phi3Config
from transformers.models.phi3.modeling_phi3 import Phi3DecoderLayer

from foveal.layers.attention import AttentionBatch, plan_attention
from foveal.layers.decoder import DecoderConfig, DecoderLayer

NUM_ROWS, WIDTH = 10, 32


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
    turn = settings.rope(torch.arange(NUM_ROWS)[None])
    layer = DecoderLayer.load({f"0.{n}": t for n, t in reference.state_dict().items()}, "0", settings)
    batch = AttentionBatch([0, NUM_ROWS], [NUM_ROWS], [[0]], torch.arange(NUM_ROWS), block_size=16)
    attend = plan_attention(batch, torch.device("cpu"))

    with torch.inference_mode():
        y = layer(x, turn, attend, torch.zeros(2, 1, 16, num_kv_heads, 8))
        cos, sin = (part.transpose(0, 1) for part in turn)
        mask = torch.full((1, 1, NUM_ROWS, NUM_ROWS), -torch.inf).triu(1)
        expected = reference(x[None], attention_mask=mask, position_embeddings=(cos, sin))

    torch.testing.assert_close(y, torch.as_tensor(expected[0]).reshape(y.shape), atol=1e-5, rtol=0)

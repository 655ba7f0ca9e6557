"""Activations by the names of config.json."""

from __future__ import annotations

import pytest
import torch
from transformers.activations import ACT2FN

from foveal.errors import CheckpointError
from foveal.layers.activation import ACTIVATIONS, activation


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_name_means_what_it_means_to_the_reference(name: str) -> None:
    x = torch.linspace(-6, 6, 50)

    torch.testing.assert_close(activation(name)(x), ACT2FN[name](x))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(CheckpointError, match="'swish' is none of gelu"):
        activation("swish")

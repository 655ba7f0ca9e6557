"""Tools in published clients: what their own helpers make of our calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.test_clients import Client, asked, run

if TYPE_CHECKING:
    from tests.contract.clients.asked import Asked

__all__ = ["asked"]  # the fixture
pytestmark = [pytest.mark.clients, pytest.mark.timeout(180)]
TOOLS = Client("tools.py", "openai_3", set(), {})


def is_shape(value: Any) -> bool:
    return value.keys() == {"name", "sides"} and isinstance(value["name"], str) and type(value["sides"]) is int


@pytest.mark.parametrize("way", ["openai: parse", "openai: stream", "langchain: tools", "langchain: tools, streamed"])
def test_the_tool_that_is_named_is_called_with_arguments_that_fit(way: str, asked: Asked) -> None:
    call = run(TOOLS, asked)[way]

    assert call["name"] == "shape", call
    assert is_shape(call["arguments"])


@pytest.mark.parametrize("way", ["langchain: structured by a tool", "langchain: structured by a schema"])
def test_structured_output_is_an_object_of_the_class(way: str, asked: Asked) -> None:
    assert is_shape(run(TOOLS, asked)[way])


def test_the_result_of_a_call_is_answered(asked: Asked) -> None:
    assert isinstance(run(TOOLS, asked)["langchain: a result"], str)

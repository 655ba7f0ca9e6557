"""Frameworks that ask for tools and schemas in ways of their own: what they make of our answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.contract.test_clients import Client, asked, run
from tests.contract.test_tools import is_shape

if TYPE_CHECKING:
    from tests.contract.clients.asked import Asked

__all__ = ["asked"]  # the fixture
pytestmark = [pytest.mark.clients, pytest.mark.timeout(180)]
INSTRUCTOR = Client("instructor_modes.py", "instructor", set(), {})
SMOLAGENTS = Client("smolagents_tools.py", "smolagents", set(), {})


@pytest.mark.parametrize("mode", ["FUNCTIONS", "TOOLS", "TOOLS_STRICT", "JSON_SCHEMA", "RESPONSES_TOOLS"])
def test_instructor_gets_an_object_of_the_class(mode: str, asked: Asked) -> None:
    seen = run(INSTRUCTOR, asked)[mode]

    assert is_shape(seen), seen


def test_an_agent_of_smolagents_gets_a_call_of_one_of_its_tools(asked: Asked) -> None:
    (call,) = run(SMOLAGENTS, asked)["agent"]

    expected = {"shape": {"name", "sides"}, "final_answer": {"answer"}}
    assert call["arguments"].keys() == expected[call["name"]]


def test_a_model_of_smolagents_gets_the_call_that_it_requires(asked: Asked) -> None:
    (call,) = run(SMOLAGENTS, asked)["model"]

    assert call["name"] == "shape"
    assert is_shape(json.loads(call["arguments"]))

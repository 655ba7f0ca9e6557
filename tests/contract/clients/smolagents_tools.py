"""smolagents: an agent that calls tools until it has an answer, and its model alone."""

from __future__ import annotations

from smolagents import OpenAIServerModel, ToolCallingAgent, tool

from tests.contract.clients.asked import asked, report

ASKED = asked()
MODEL = OpenAIServerModel(ASKED.model, api_base=f"{ASKED.url}/v1", api_key=ASKED.key, max_tokens=200)


def shape(name: str, sides: int) -> str:
    """Say which shape is in the picture.

    Args:
        name: What it is called.
        sides: How many sides it has.
    """
    return f"{name}: {sides}"


SHAPE = tool(shape)


def called() -> object:
    """The call that the agent's first step makes."""
    agent = ToolCallingAgent([SHAPE], MODEL, max_steps=1, verbosity_level=0)
    agent.run("Which shape has three sides?")
    return [{"name": call.name, "arguments": call.arguments} for call in agent.memory.steps[1].tool_calls]


def plain() -> object:
    """The model without an agent; the tool is its choice."""
    message = MODEL.generate([{"role": "user", "content": "Hello"}], tools_to_call_from=[SHAPE])
    return [{"name": call.function.name, "arguments": call.function.arguments} for call in message.tool_calls]


report({"agent": called, "model": plain})

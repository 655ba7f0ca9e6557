"""pydantic-ai: an agent's output by a tool and by a schema, and a tool of its own, on both of OpenAI's wires."""

from __future__ import annotations

from typing import Any

from pydantic_ai import Agent, BinaryContent, NativeOutput, Tool, ToolOutput
from pydantic_ai.direct import model_request
from pydantic_ai.messages import ModelRequest, ToolCallPart, UserPromptPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.contract.clients.asked import asked, report
from tests.contract.clients.shape import MAX_TOKENS, Shape, shape

ASKED = asked()
PROVIDER = OpenAIProvider(base_url=f"{ASKED.url}/v1", api_key=ASKED.key)
MODELS = {
    "chat": OpenAIChatModel(ASKED.model, provider=PROVIDER),
    "responses": OpenAIResponsesModel(ASKED.model, provider=PROVIDER),
}
PROMPT = [ASKED.question, BinaryContent.from_data_uri(ASKED.picture)]


async def output(model: Any, kind: Any) -> object:
    agent = Agent(model, output_type=kind(Shape), model_settings={"max_tokens": MAX_TOKENS})
    return (await agent.run(PROMPT)).output


async def streamed(model: Any) -> object:
    agent = Agent(model, output_type=ToolOutput(Shape), model_settings={"max_tokens": MAX_TOKENS})
    async with agent.run_stream(PROMPT) as result:
        return await result.get_output()


async def called(model: Any) -> object:
    """The model without an agent, which has to call the tool."""
    asked_of = ModelRequestParameters(function_tools=[Tool(shape).tool_def], allow_text_output=False)
    question = ModelRequest(parts=[UserPromptPart(PROMPT)])
    response = await model_request(
        model, [question], model_settings={"max_tokens": MAX_TOKENS}, model_request_parameters=asked_of
    )
    (call,) = [part for part in response.parts if isinstance(part, ToolCallPart)]
    return call.args_as_dict()


report(
    {
        f"{name}: {way}": ask
        for name, model in MODELS.items()
        for way, ask in {
            "tool output": lambda model=model: output(model, ToolOutput),
            "tool output, streamed": lambda model=model: streamed(model),
            "native output": lambda model=model: output(model, NativeOutput),
            "tool": lambda model=model: called(model),
        }.items()
    }
)

"""Tools as the clients ask for them: OpenAI's parse and stream, LangChain's tools and structured output."""

from __future__ import annotations

import functools
import operator
from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from openai import OpenAI, pydantic_function_tool
from pydantic import BaseModel

from tests.contract.clients.asked import asked, report

ASKED = asked()
URL = f"{ASKED.url}/v1"


class Shape(BaseModel):
    """A shape in the picture."""

    name: str
    sides: int


def shape(name: str, sides: int) -> str:
    """Say which shape is in the picture."""
    return f"{name}: {sides}"


openai = OpenAI(base_url=URL, api_key=ASKED.key).chat.completions
langchain = ChatOpenAI(base_url=URL, api_key=ASKED.key, model=ASKED.model, max_tokens=200, max_retries=0)
fields: Any = {
    "model": ASKED.model,
    "messages": ASKED.messages(),
    "max_tokens": 200,
    "tools": [pydantic_function_tool(Shape, name="shape")],
    "tool_choice": {"type": "function", "function": {"name": "shape"}},
}
calling = langchain.bind_tools([shape], tool_choice="shape")


def called(calls: Any) -> dict[str, Any]:
    """LangChain's only call."""
    (call,) = calls
    return {"name": call["name"], "arguments": call["args"]}


def parsed(calls: Any) -> dict[str, Any]:
    """OpenAI's only call, with its arguments as an object of the class."""
    (call,) = calls
    return {"name": call.function.name, "arguments": call.function.parsed_arguments.model_dump()}


def streamed() -> dict[str, Any]:
    with openai.stream(**fields) as events:
        kinds = [event.type for event in events]
        final = events.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    return parsed(final.choices[0].message.tool_calls)


def answered() -> str:
    """What is said to the result of a call."""
    question = HumanMessage(ASKED.messages()[0]["content"])
    call = calling.invoke([question])
    result = ToolMessage("a circle", tool_call_id=call.tool_calls[0]["id"])
    return str(langchain.bind_tools([shape]).invoke([question, call, result]).content)


report(
    {
        "openai: parse": lambda: parsed(openai.parse(**fields).choices[0].message.tool_calls),
        "openai: stream": streamed,
        "langchain: tools": lambda: called(calling.invoke(ASKED.messages()).tool_calls),
        "langchain: tools, streamed": lambda: called(
            functools.reduce(operator.add, calling.stream(ASKED.messages())).tool_calls
        ),
        "langchain: structured by a tool": lambda: langchain.with_structured_output(
            Shape, method="function_calling"
        ).invoke(ASKED.messages()),
        "langchain: structured by a schema": lambda: langchain.with_structured_output(
            Shape, method="json_schema"
        ).invoke(ASKED.messages()),
        "langchain: a result": answered,
    }
)

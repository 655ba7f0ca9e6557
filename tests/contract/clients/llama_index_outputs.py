"""LlamaIndex: its model for servers that are like OpenAI's, with a class for the answer, and with a tool."""

from __future__ import annotations

from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

from tests.contract.clients.asked import asked, report
from tests.contract.clients.shape import MAX_TOKENS, Shape, shape

ASKED = asked()
MODEL = OpenAILike(
    model=ASKED.model,
    api_base=f"{ASKED.url}/v1",
    api_key=ASKED.key,
    max_tokens=MAX_TOKENS,
    max_retries=0,
    is_chat_model=True,
    is_function_calling_model=True,
)
MESSAGES = [ChatMessage(role="user", blocks=[ImageBlock(url=ASKED.picture), TextBlock(text=ASKED.question)])]
TOOL = FunctionTool.from_defaults(shape)


def structured() -> object:
    return MODEL.as_structured_llm(Shape).chat(MESSAGES).raw


def called() -> object:
    reply = MODEL.chat_with_tools([TOOL], chat_history=MESSAGES, tool_required=True)
    (call,) = MODEL.get_tool_calls_from_response(reply)
    return call.tool_kwargs


report({"structured": structured, "tool": called})

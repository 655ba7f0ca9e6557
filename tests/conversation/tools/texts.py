"""Two tools, and calls of them in each form, as models that are known for the form write them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from foveal.types import Tool

WEATHER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "units": {"enum": ["metric", "imperial"]},
        "at": {
            "type": "object",
            "properties": {"hour": {"type": "integer"}, "note": {"type": "string"}, "exact": {"type": "boolean"}},
            "required": ["hour"],
        },
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
    },
    "required": ["city"],
}
WEATHER = Tool("get_weather", "The weather in a city.", json.dumps(WEATHER_SCHEMA))
NOW = Tool("now", "The time.", '{"type": "object", "properties": {}}')
TOOLS = (WEATHER, NOW)


@dataclass(frozen=True)
class Written:
    """What a model wrote, and what it means: the text beside the calls, and the calls."""

    form: str
    text: str
    calls: tuple[tuple[str, object], ...]
    content: str = ""


PARIS = ("get_weather", {"city": "Paris"})
DAYS = ("get_weather", {"city": "Paris", "days": 3})
AT = ("get_weather", {"city": "Paris", "at": {"hour": 8, "note": 'a "b"', "exact": True}, "tags": ["x", "y"]})

RECORDED = (
    Written("hermes", '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>', (PARIS,)),
    Written(
        "hermes",
        'I look it up.\n\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}\n'
        '</tool_call>\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
        (DAYS, ("now", {})),
        "I look it up.",
    ),
    Written(
        "hermes",  # no white space, the arguments first, and as a text
        '<tool_call>{"arguments":"{\\"city\\": \\"Paris\\"}","name":"get_weather"}</tool_call>',
        (PARIS,),
    ),
    Written(
        "hermes",
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "</tool_call>{\\"\\u00e9\\ud83d\\ude00}"}}\n'
        "</tool_call> Done.",
        (("get_weather", {"city": '</tool_call>{"é😀}'}),),
        " Done.",
    ),
    Written("llama", '{"name": "get_weather", "parameters": {"city": "Paris"}}', (PARIS,)),
    Written(
        "llama",
        '{"name": "get_weather", "parameters": {"city": "Paris"}}; {"name": "now", "parameters": {}}',
        (PARIS, ("now", {})),
    ),
    Written(
        "mistral",
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "a1b2c3d4e"}, '
        '{"name": "now", "arguments": {}}]',
        (PARIS, ("now", {})),
    ),
    Written(
        "mistral-named",
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}[TOOL_CALLS]now[ARGS]{}',
        (PARIS, ("now", {})),
    ),
    Written(
        "phi4",
        '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]<|/tool_call|>',
        (PARIS,),
    ),
    Written(
        "phi4",  # as one of the templates in use has it
        '<|tool_call|>{"name": "get_weather", "arguments": {"city": "Paris"}}<|/tool_call|>',
        (PARIS,),
    ),
    Written("pythonic", '[get_weather(city="Paris", days=3), now()]', (DAYS, ("now", {}))),
    Written(
        "pythonic",
        "[get_weather(city='Paris', at={\"hour\": 8, 'note': 'a \"b\"', \"exact\": True}, tags=[\"x\", 'y'])]",
        (AT,),
    ),
    Written("tool_code", 'Sure.\n```tool_code\nget_weather(city="Paris")\n```', (PARIS,), "Sure."),
    Written(
        "xml",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
        "</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
        (DAYS, ("now", {})),
    ),
    Written(
        "xml",
        '<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=at>\n{"hour": 8, '
        '"note": "a \\"b\\"", "exact": true}\n</parameter>\n<parameter=tags>\n["x", "y"]\n</parameter>\n'
        "</function>\n</tool_call>",
        (AT,),
    ),
    Written(
        "xml",  # a text of several lines, with quotes and marks of its own
        '<tool_call>\n<function=get_weather>\n<parameter=city>\n"a"\n\n<b>\\n</b>\n</parameter>\n</function>\n</tool_call>',
        (("get_weather", {"city": '"a"\n\n<b>\\n</b>'}),),
    ),
    Written(
        "gemma4",
        '<|tool_call>call:get_weather{at:{exact:true,hour:8,note:<|"|>a "b"<|"|>},city:<|"|>Paris<|"|>,'
        'tags:[<|"|>x<|"|>,<|"|>y<|"|>]}<tool_call|><|tool_call>call:now{}<tool_call|>',
        (AT, ("now", {})),
    ),
    Written(
        "function-gemma",
        "<start_function_call>call:get_weather{city:<escape>Paris<escape>,days:3}<end_function_call>",
        (DAYS,),
    ),
)

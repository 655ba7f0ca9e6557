"""What holds for tools, whatever a dialect calls them. Every function raises InvalidRequest that names the field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from foveal.errors import InvalidRequest
from foveal.types import Tool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.types import Message, ToolChoice

MAX_TOOLS_BYTES = 512 * 1024
NO_ARGUMENTS: dict[str, object] = {"type": "object", "properties": {}}


def offered(
    name: str, description: str | None, parameters: dict[str, object] | None, strict: bool | None, field: str
) -> Tool:
    """`parameters`: the JSON schema of the arguments. None: it takes none."""
    schema = NO_ARGUMENTS if parameters is None else parameters
    return Tool(name, description or "", json_text(schema, field), strict or False)


def check_tools(tools: Sequence[Tool], field: str) -> None:
    names = [tool.name for tool in tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidRequest(f"Two tools are called {twice}: give each a name of its own, field: '{field}'", field)
    if sum(len(tool.parameters) + len(tool.description) for tool in tools) > MAX_TOOLS_BYTES:
        raise InvalidRequest(f"Tools have at most {MAX_TOOLS_BYTES} characters together, field: '{field}'", field)


def without_the_servers(kinds: Sequence[str], others: Sequence[Tool], field: str) -> tuple[str, ...]:
    """The warning that tools of those kinds are left out, since a server would run them.

    Raises InvalidRequest where there are no others: then the client wants what is not done.
    """
    if not kinds:
        return ()
    listed = ", ".join(dict.fromkeys(kinds))
    if not others:
        message = f"This server runs no tools itself, such as {listed}: offer one that your client runs"
        raise InvalidRequest(f"{message}, field: '{field}'", field)
    return (f"This server runs no tools itself: {listed} is not offered to the model.",)


def check_choice(choice: ToolChoice, tools: Sequence[Tool], field: str) -> None:
    known = {tool.name for tool in tools}
    if unknown := next((name for name in choice.names if name not in known), None):
        raise InvalidRequest(f"{field} names {unknown}, which is not among the tools, field: '{field}'", field)
    if choice.mode == "required" and not tools:
        raise InvalidRequest(f"{field} asks for a call, and there are no tools, field: '{field}'", field)


def check_results(messages: Sequence[Message], field: str) -> None:
    """A result answers a call that was made before it. `field` may have {} for the place of the message."""
    made = set[str]()
    for index, message in enumerate(messages):
        made |= {call.id for call in message.tool_calls}
        if message.role == "tool" and message.tool_call_id not in made:
            where = field.format(index)
            raise InvalidRequest(
                f"There is a result of the call {message.tool_call_id!r}, and no such call before it, field: '{where}'",
                where,
            )


def json_text(value: object, field: str) -> str:
    """Halves of surrogate pairs are no characters, and refused."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        message = f"The text holds half of a surrogate pair: send valid Unicode, field: '{field}'"
        raise InvalidRequest(message, field) from None
    return text

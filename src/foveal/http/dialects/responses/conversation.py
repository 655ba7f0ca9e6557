"""Conversations that clients do not send again: kept responses, and the items that a body goes on from."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from foveal.accounting.kept import KeptAnswer
from foveal.errors import NotFound
from foveal.http.dialects.responses.parse import items_of
from foveal.http.dialects.responses.schemas import ItemReference, Items, MessageItem
from foveal.http.dialects.responses.writer import ID_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.accounting.kept import KeptAnswers
    from foveal.http.dialects.responses.replies import ResponseReply
    from foveal.http.dialects.responses.schemas import InputTokensBody, Item
    from foveal.http.endpoint import Context

OUTPUT_ID = re.compile(r"(?:msg|rs|fc|ctc)_([0-9a-f]{32})_\d+")  # as the writer makes them


@dataclass(frozen=True, slots=True)
class Conversation:
    earlier: Sequence[Item]  # of the responses before
    items: Sequence[Item]  # of the body

    @property
    def whole(self) -> Sequence[Item]:
        return [*self.earlier, *self.items]


async def conversation(body: InputTokensBody, context: Context, account: str) -> Conversation:
    """What the body goes on from and its items, without references. Raises NotFound or InvalidRequest."""
    kept = context.kept
    items = [
        await _referred(item, kept, account) if isinstance(item, ItemReference) else item for item in items_of(body)
    ]
    if body.previous_response_id is None:
        return Conversation([], items)
    try:
        chain = await kept.chain(account, body.previous_response_id, context.config.max_body_bytes)
    except NotFound as error:
        raise NotFound(error.message, param="previous_response_id") from None
    return Conversation(await asyncio.to_thread(lambda: [item for answer in chain for item in _items(answer)]), items)


async def keep(kept: KeptAnswers, account: str, items: Sequence[Item], response: ResponseReply) -> None:
    """Keep a response with the input that it answers."""
    number = response["id"].removeprefix(ID_PREFIX)
    inputs = [_shown(item, f"in_{number}_{place}") for place, item in enumerate(items)]
    answer = KeptAnswer(
        response["id"],
        account,
        response["created_at"],
        response["previous_response_id"],
        msgspec.json.encode(inputs),
        msgspec.json.encode(response),
    )
    await kept.keep(answer)


def _shown(item: Item, id: str) -> dict[str, Any]:
    """The item as lists of input items have it: with an id, and its content as parts."""
    shown = {"id": id, **item.model_dump(mode="json", exclude_none=True)}
    if isinstance(item, MessageItem):
        if isinstance(item.content, str):
            kind = "output_text" if item.role == "assistant" else "input_text"
            shown["content"] = [{"type": kind, "text": item.content}]
        shown["content"] = [_MISSING.get(part["type"], {}) | part for part in shown["content"]]
        shown["status"] = "completed"
    return shown


_MISSING: dict[str, dict[str, Any]] = {"input_image": {"detail": "auto"}, "output_text": {"annotations": []}}


def _items(answer: KeptAnswer) -> Sequence[Item]:
    output = msgspec.json.decode(answer.answer)["output"]
    return Items.model_validate([*msgspec.json.decode(answer.input), *output]).root


async def _referred(reference: ItemReference, kept: KeptAnswers, account: str) -> Item:
    if found := OUTPUT_ID.fullmatch(reference.id):
        with suppress(NotFound):
            answer = await kept.find(account, ID_PREFIX + found[1])
            for item in _items(answer):
                if item.id == reference.id:
                    return item
    raise NotFound(f"There is no item {reference.id!r}, or no longer: send the item itself.", param="input")

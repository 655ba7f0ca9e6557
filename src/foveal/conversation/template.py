"""Messages -> text in the format that a model was trained on, with the origin of each part.

A template never gets users' texts. It gets numbered sentinels in their place, and its output is cut at the sentinels
and at the image marks. So no text can break out of its place, become a special token or an image mark, or reach the
template engine. Every text is in the prompt exactly once, in order; what tools, calls and past reasoning say may be
left out or repeated. Knows nothing of token ids.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, NoReturn

import jinja2

from foveal.conversation.config import ConversationConfig
from foveal.conversation.published import Generation, Part, Shape, shapes
from foveal.conversation.sandbox import Sandbox
from foveal.conversation.tokenizer import Run
from foveal.conversation.told import CallOutline, Told, tojson
from foveal.errors import ConfigError, InvalidRequest
from foveal.types import ImageRef, Message, Tool, ToolCall

_MAX_RENDERED_CHARS = 1_000_000  # of marks and sentinels; users' texts are not counted
_TOO_MANY_MESSAGES = "The conversation has too many messages or content parts."
_NO_FORM = "This model's conversation format cannot express these messages: check the order of their roles."

_log = logging.getLogger(__name__)


class Template:
    """A compiled conversation template.

    Its variables are `messages`, a list of {role, content}, content a list of {type: "text", text} and {type: "image",
    number}; `num_images`; and `refuse()`, for messages that it cannot express. It prints no BOS. Of the filters on a
    text, only `trim` has an effect. A published template gets the variables of the transformers library, and may
    print a BOS.
    """

    def __init__(self, config: ConversationConfig) -> None:
        """Raises ConfigError for a template with a syntax error, and for a published one that takes no messages."""
        try:
            self._sandbox = _environment(config.published)
            self._template = self._sandbox.from_string(config.template)
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"Conversation config {config.name}, line {error.lineno}: {error.message}") from error
        self._named = {"bos_token": config.bos_token, "eos_token": config.eos_token}
        mark = re.escape(config.image_mark).replace(re.escape("{n}"), r"\d+")
        self._cut = re.compile(f"{Told.SENTINEL}|{mark}")
        self._shape: Shape = list
        self.calls = CallOutline()
        if config.published:
            self._find_shape(config)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        options: Mapping[str, object] | None = None,
        *,
        continues: bool = False,
    ) -> list[list[Run]]:
        """The text before, between and after the images: one entry more than there are images.

        `options`: more variables for a published template. `continues`: it ends with the last text of the messages.
        Raises InvalidRequest where the template cannot express the messages.
        """
        try:
            if continues:
                *before, last = self._segments(messages, tools, {**(options or {}), "add_generation_prompt": False})
                return [*before, _up_to_the_last_text(last)]
            return self._segments(messages, tools, options or {})
        except InvalidRequest:
            raise
        except Exception as error:  # an operator's template may raise anything
            _log.warning("the conversation template failed", exc_info=True)  # no text of the request is in it
            raise InvalidRequest(_NO_FORM, param="messages") from error

    def written(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str | None:
        """The whole text of a conversation, as a trial; None where the template cannot express it."""
        with contextlib.suppress(Exception):  # of any kind: a trial is no request
            return "".join(run.text for segment in self._segments(messages, tools) for run in segment)
        return None

    def markup(self) -> str:
        """What it writes around the texts of short conversations, those with calls included."""
        turns = Message("user", ("a",)), Message("assistant", ("b",)), Message("user", ("c",))
        call = Message("assistant", (), tool_calls=(ToolCall("call00000", "f", "{}"),), reasoning="d")
        called = (turns[0], call, Message("tool", ("e",), name="f", tool_call_id="call00000"))
        trials = [((Message("system", ("d",)), *turns), ()), (turns, ()), (called, (Tool("f"),))]
        written = []
        for messages, tools in trials:
            with contextlib.suppress(Exception):  # some templates know no system message, and many no tools
                written += [run.text for part in self._segments(messages, tools) for run in part if run.is_markup]
        return "".join(written)

    def _segments(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), options: Mapping[str, object] | None = None
    ) -> list[list[Run]]:
        messages = [_without_empty_texts(message) for message in messages]
        texts = [part for message in messages for part in message.content if isinstance(part, str)]
        num_images = sum(len(message.content) for message in messages) - len(texts)
        told = Told(texts, self.calls)
        outline = _outline(messages, self._shape, told)
        variables = {**(options or {}), **({"tools": [*map(told.tool, tools)]} if tools else {})}
        rendered, end = self._fill(outline, num_images, variables), 0
        segments: list[list[Run]] = [[]]
        seen = []
        for cut in self._cut.finditer(rendered):
            segments[-1].append(Run(rendered[end : cut.start()], is_markup=True))
            end = cut.end()
            if cut["number"] is None:
                segments.append([])
            else:
                seen.append(int(cut["number"]))
                segments[-1].append(Run(told.text(cut), is_markup=False))
        segments[-1].append(Run(rendered[end:], is_markup=True))
        if [number for number in seen if number < len(texts)] != [*range(len(texts))]:
            _refuse()
        if len(segments) != num_images + 1:
            _refuse()
        return segments

    def _fill(self, outline: list[dict[str, Any]], num_images: int, variables: Mapping[str, object]) -> str:
        self._sandbox.start()
        given = {"add_generation_prompt": True, **variables, "num_images": num_images, **self._named}
        return "".join(_bounded(self._template.generate(messages=outline, **given)))

    def _find_shape(self, config: ConversationConfig) -> None:
        """Choose the first shape of content with which the template keeps all of a conversation."""
        image = (ImageRef("", 1),) if config.rules.image_tokens else ()
        probe = (Message("user", (*image, "a")), Message("assistant", ("b",)), Message("user", ("c",)))
        for shape in shapes(config.image_mark):
            self._shape = shape
            with contextlib.suppress(Exception):  # of any kind: the next shape may work
                self._segments(probe)
                return
        raise ConfigError("The checkpoint's own chat template cannot be used: leave conversation at its default.")


def _environment(published: bool) -> Sandbox:
    """Published templates read undefined variables, and call functions that transformers offers."""
    environment = Sandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.Undefined if published else jinja2.StrictUndefined,
        autoescape=False,
        extensions=["jinja2.ext.loopcontrols", Generation] if published else [],
    )
    environment.filters["tojson"] = tojson
    offered = {name: environment.globals[name] for name in ("range", "namespace", "dict")}
    environment.globals = {**offered, "raise_exception": _refuse} if published else {"refuse": _refuse}
    return environment


def _up_to_the_last_text(runs: Sequence[Run]) -> list[Run]:
    num_behind = next(count for count, run in enumerate(reversed(runs)) if not run.is_markup)
    return [*runs[: len(runs) - num_behind]]


def _without_empty_texts(message: Message) -> Message:
    """Beside a picture an empty text says no more than none, and a template may ask for it what nobody did."""
    said = tuple(part for part in message.content if part != "")
    return replace(message, content=said) if said else message


def _outline(messages: Sequence[Message], shape: Shape, told: Told) -> list[dict[str, Any]]:
    """The messages as the template gets them: a sentinel for each text, a number for each image."""
    texts, images = count(), count(1)

    def part(part: object) -> Part:
        if isinstance(part, str):
            return {"type": "text", "text": told.sentinel(next(texts))}
        return {"type": "image", "number": next(images)}

    def entry(message: Message) -> dict[str, Any]:
        made: dict[str, Any] = {"role": message.role, "content": shape([*map(part, message.content)])}
        if message.reasoning:
            made["reasoning_content"] = told.value(message.reasoning)
        if message.tool_calls:
            made["tool_calls"] = [*map(told.call, message.tool_calls)]
        if message.role == "tool":
            made |= {"tool_call_id": told.call_id(message.tool_call_id or ""), "name": told.value(message.name or "")}
        return made

    return [entry(message) for message in messages]


def _bounded(parts: Iterable[str]) -> Iterator[str]:
    length = 0
    for part in parts:
        length += len(part)
        if length > _MAX_RENDERED_CHARS:
            raise InvalidRequest(_TOO_MANY_MESSAGES, param="messages")
        yield part


def _refuse(*_: object) -> NoReturn:
    raise InvalidRequest(_NO_FORM, param="messages")

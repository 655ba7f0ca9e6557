"""Messages -> the text that a model was trained on, with the origin of every part of it kept.

A template never sees what people wrote. It is given numbered sentinels in place of their texts, and afterwards its
output is cut at the sentinels and at the image marks. So no text can break out of its place, become a special token
or an image mark, or reach the template engine; and every text stands in the prompt exactly once, in order.
Knows nothing of token ids.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from foveal.conversation.config import ConversationConfig
from foveal.conversation.tokenizer import Run
from foveal.errors import ConfigError, InvalidRequest
from foveal.types import Message, Role

_MAX_RENDERED_CHARS = 1_000_000  # of marks and sentinels, people's texts not counted
_TOO_MANY_MESSAGES = "The conversation has too many messages or content parts."
_NO_FORM = "This model's conversation format cannot express these messages: check the order of their roles."

_log = logging.getLogger(__name__)


class Template:
    """A compiled conversation template.

    It sees `messages`, a list of {role, content}, content a list of {type: "text", text} and {type: "image", number};
    `num_images`; and `refuse()`, for messages that it cannot express. It prints no BOS.
    """

    def __init__(self, config: ConversationConfig) -> None:
        """Raises ConfigError for a template with a syntax error."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False
        )
        environment.globals = {"refuse": _refuse}
        try:
            self._template = environment.from_string(config.template)
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"Conversation config {config.name}, line {error.lineno}: {error.message}") from error
        self._trim = config.trim
        mark = re.escape(config.image_mark).replace(re.escape("{n}"), r"\d+")
        self._cut = re.compile(f"\x02(?P<text>\\d+)\x03|{mark}")

    def render(self, messages: Sequence[Message]) -> list[list[Run]]:
        """The text before, between and after the images: one entry more than there are images.

        Raises InvalidRequest where the template has no form for the messages.
        """
        texts = [
            self._trimmed(part, message.role)
            for message in messages
            for part in message.content
            if isinstance(part, str)
        ]
        num_images = sum(len(message.content) for message in messages) - len(texts)
        rendered, end = self._fill(_outline(messages), num_images), 0
        segments: list[list[Run]] = [[]]
        seen = []
        for cut in self._cut.finditer(rendered):
            segments[-1].append(Run(rendered[end : cut.start()], is_markup=True))
            end = cut.end()
            if cut["text"] is None:
                segments.append([])
            else:
                seen.append(int(cut["text"]))
                segments[-1].append(Run(texts[seen[-1]], is_markup=False))
        segments[-1].append(Run(rendered[end:], is_markup=True))
        if seen != list(range(len(texts))) or len(segments) != num_images + 1:
            _refuse()
        return segments

    def _fill(self, outline: list[dict[str, Any]], num_images: int) -> str:
        try:
            return "".join(_bounded(self._template.generate(messages=outline, num_images=num_images)))
        except InvalidRequest:
            raise
        except Exception as error:  # whatever an operator's template may do
            _log.warning("the conversation template failed", exc_info=True)  # it holds no text of the request
            raise InvalidRequest(_NO_FORM, param="messages") from error

    def _trimmed(self, text: str, role: Role) -> str:
        return text.strip() if role in self._trim else text


def _outline(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages as the template sees them: a sentinel for each text, a number for each image."""
    texts, images = count(), count(1)
    return [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": f"\x02{next(texts)}\x03"}
                if isinstance(part, str)
                else {"type": "image", "number": next(images)}
                for part in message.content
            ],
        }
        for message in messages
    ]


def _bounded(parts: Iterable[str]) -> Iterator[str]:
    length = 0
    for part in parts:
        length += len(part)
        if length > _MAX_RENDERED_CHARS:
            raise InvalidRequest(_TOO_MANY_MESSAGES, param="messages")
        yield part


def _refuse() -> NoReturn:
    raise InvalidRequest(_NO_FORM, param="messages")

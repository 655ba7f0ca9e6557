"""A checkpoint's own chat template, as the transformers library would run it: where it is, and what it is given.

Published templates disagree about the shape of a message's content: some take only strings, some only lists of typed
parts, some lists where there are images. Which shape a template takes is found by trial (see template.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from foveal.conversation.config import ConversationConfig
from foveal.errors import ConfigError
from foveal.models.checkpoint import read_json
from foveal.types import Role

CHECKPOINT = "checkpoint"  # the operator's name for the checkpoint's own template

Part = Mapping[str, Any]  # {type: "text", text} or {type: "image", number}
Shape = Callable[[Sequence[Part]], object]  # a message's parts -> the content that a template is given


def with_own_template(own: ConversationConfig, folder: Path) -> ConversationConfig:
    """The family's config with the template of the checkpoint in `folder`. Raises ConfigError where it has none.

    The BOS is the checkpoint's: the template prints it, or the tokenizer adds it.
    """
    settings = read_json(folder / "tokenizer_config.json")
    template = _template(folder, settings)
    if template is None:
        raise ConfigError(f"The checkpoint has no chat template of its own: leave conversation at {own.name}.")
    rules, eos = own.rules, _text_of(settings.get("eos_token"))
    return replace(
        own,
        name=CHECKPOINT,
        template=template,
        image_roles=get_args(Role),  # the template decides; an image that it leaves out is refused
        published=True,
        bos_token=_text_of(settings.get("bos_token")),
        eos_token=eos,
        rules=replace(rules, stop_tokens=tuple(dict.fromkeys(filter(None, (*rules.stop_tokens, eos))))),
    )


def shapes(image_mark: str) -> tuple[Shape, ...]:
    """The shapes of content, in the order of trial: those first on which a template for another fails most surely."""

    def typed(parts: Sequence[Part]) -> object:
        return list(parts)

    def plain_where_text(parts: Sequence[Part]) -> object:
        if not parts:
            return ""
        return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else list(parts)

    def marked(parts: Sequence[Part]) -> object:
        """One string, with each image as its mark and a line break, as it would be written by hand."""
        return "".join(
            part["text"] if part["type"] == "text" else image_mark.replace("{n}", str(part["number"])) + "\n"
            for part in parts
        )

    return plain_where_text, typed, marked


class Generation(Extension):
    """{% generation %} ... {% endgeneration %}, which marks text that is trained on. Its content stays."""

    tags = {"generation"}  # noqa: RUF012  # as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """The template from the newest of the places where libraries have stored it."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    found = read_json(folder / "chat_template.json").get("chat_template") or settings.get("chat_template")
    if isinstance(found, list):  # several, by name
        found = next((each.get("template") for each in found if each.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def _text_of(token: object) -> str:
    """A token is written as its text, or as an object with it."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")

"""Conversation configs: how conversations are written for a model family, as data (configs/*.toml).

A config has two halves. The operator can choose the first: template, image mark, stop strings. The second, the rules,
is what the family's checkpoints expect of any prompt, a completion included, whichever template is chosen. Knows
nothing of tokenizers or of how a template is run.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from foveal.errors import ConfigError
from foveal.types import Role

_CONFIGS = files(__package__) / "configs"


@dataclass(frozen=True, slots=True)
class PromptRules:
    """What the checkpoints of one family expect of every prompt."""

    bos_token: str | tuple[str, ...] = ""  # comes before the prompt; of several, the first that the tokenizer has,
    # and "" among several stands for what the tokenizer adds by itself
    split_at_images: bool = False  # the text after an image is tokenised separately, with its own bos_token
    before_image: str = ""  # text around each image, which is tokenised together with its neighbours
    after_image: str = ""
    image_tokens: tuple[str, ...] = ()  # tokens that only an image may add, never a prompt's text or ids
    stop_tokens: tuple[str, ...] = ()  # end an answer, besides the checkpoint's own eos tokens


@dataclass(frozen=True, slots=True)
class ConversationConfig:
    """How a conversation is written for a model. Keys of the TOML file are the fields below, [rules] the rules."""

    name: str
    template: str  # Jinja; template.py describes its variables
    model_types: tuple[str, ...] = ()  # checkpoints that were trained on it; none: for any model
    image_mark: str = "<image>"  # what the template prints for an image; {n} is the image's number, from 1
    image_roles: tuple[Role, ...] = ("user",)  # whose messages may have images
    images_first: bool = False  # the model may refuse where text precedes an image: the client is warned
    stop: tuple[str, ...] = ()  # strings that end an answer
    tool_form: str = ""  # of calls, a name in tools/form.py; "": found in the template
    reasoning: tuple[str, ...] = ()  # the marks before and after it; (): found in the template
    published: bool = False  # whether the template expects the variables of the transformers library
    bos_token: str = ""  # what a published template calls by these names
    eos_token: str = ""
    rules: PromptRules = PromptRules()


def load_conversation(model_type: str, name: str | None = None) -> ConversationConfig:
    """The config called `name` (or in the file `name`, if it ends in .toml), or by default the family's own.

    A config that does not list `model_type` gets the rules of the one that does. A checkpoint's own template is loaded
    by published.py. Raises ConfigError.
    """
    own = next((config for config in map(_packaged, names()) if model_type in config.model_types), None)
    if name is None:
        if own is None:
            raise ConfigError(f"No conversation config is for model type {model_type}: choose one of {_listed()}.")
        return own
    chosen = _chosen(name)
    return chosen if own is None or model_type in chosen.model_types else replace(chosen, rules=own.rules)


def names() -> list[str]:
    """The configs inside the package, in alphabetical order."""
    return sorted(entry.name.removesuffix(".toml") for entry in _CONFIGS.iterdir() if entry.name.endswith(".toml"))


def parse(name: str, text: str) -> ConversationConfig:
    """A config from the text of its TOML file. Raises ConfigError that says what is wrong with it."""
    try:
        table = tomllib.loads(text)
        _refuse_unknown(table, ConversationConfig)
        _refuse_unknown(table.get("rules", {}), PromptRules)
        return msgspec.convert({**table, "name": name}, ConversationConfig)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"Conversation config {name}: {error}") from error


def _refuse_unknown(table: object, record: type[Any]) -> None:
    if not isinstance(table, dict):
        raise msgspec.ValidationError(f"expected a table, got {type(table).__name__}")
    known = {field.name for field in fields(record)}
    if unknown := sorted(set(table) - known):
        raise msgspec.ValidationError(f"unknown keys {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _chosen(name: str) -> ConversationConfig:
    if name.endswith(".toml"):
        try:
            return parse(name, Path(name).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"Conversation config {name} cannot be read: {error.strerror}.") from error
    if name not in names():
        raise ConfigError(f"There is no conversation config {name}: choose one of {_listed()}, or a .toml file.")
    return _packaged(name)


def _packaged(name: str) -> ConversationConfig:
    return parse(name, (_CONFIGS / f"{name}.toml").read_text(encoding="utf-8"))


def _listed() -> str:
    return ", ".join(names())

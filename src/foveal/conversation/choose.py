"""Which conversation config a checkpoint is served with: the operator's, its family's, or its own template.

By default a checkpoint's own template counts, unless the family's config makes the same prompts of short conversations.
Then the family's is taken: it leaves images where people put them. Knows nothing of how prompts are made.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from foveal.conversation.config import ConversationConfig, PromptRules, load_conversation
from foveal.conversation.published import CHECKPOINT, with_own_template
from foveal.conversation.render import Renderer
from foveal.errors import CheckpointError, ConfigError, InvalidRequest
from foveal.models.registry import described
from foveal.types import ChatRequest, ImageRef, Message

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.conversation.tokenizer import Tokenizer
    from foveal.models.family import Described, Processor

_log = logging.getLogger(__name__)

GENERIC = "generic"  # what stands for the name of a config where a type has none

_SYSTEM = Message("system", ("Be brief.",))
_TURNS = (Message("user", ("Hello",)), Message("assistant", ("Hi",)), Message("user", ("Why?",)))
_TRIALS = (_TURNS, (_SYSTEM, *_TURNS))
_TRIALS_WITH_IMAGES = ((Message("user", (ImageRef("", 1), "Why?")),), (Message("user", (ImageRef("", 1),)),))


def renderer_of(
    model_type: str, name: str | None, folder: Path, tokenizer: Tokenizer, processor: Processor | None
) -> Renderer:
    """The renderer with the config called `name`, or with the one that suits the checkpoint in `folder`.

    Raises ConfigError, and CheckpointError where the tokenizer lacks the BOS that the config needs.
    """
    if (found := described(processor)) is not None:
        return Renderer(_of_library(found, name, folder), tokenizer, processor)
    if name == CHECKPOINT:
        return Renderer(with_own_template(load_conversation(model_type), folder), tokenizer, processor)
    if name is not None:
        named = Renderer(load_conversation(model_type, name), tokenizer, processor)
        own = _own(model_type, folder, tokenizer, processor)
        if own is not None and not _agree(own, named, has_images=processor is not None):
            _log.warning("--conversation %s writes other prompts than the checkpoint's own template", name)
        return named
    own = _own(model_type, folder, tokenizer, processor)
    try:
        family = Renderer(load_conversation(model_type), tokenizer, processor)
    except CheckpointError:
        if own is None:
            raise
        return own
    if own is None:
        return family
    return family.with_own(own) if _agree(own, family, has_images=processor is not None) else own


def _of_library(found: Described, name: str | None, folder: Path) -> ConversationConfig:
    """Of a type that has no config here: the checkpoint's own template, or the config that the operator names."""
    rules = PromptRules(image_tokens=found.image_tokens)
    if name in (None, CHECKPOINT):
        own = ConversationConfig(GENERIC, "", image_mark=found.image_mark, rules=rules)
        try:
            return with_own_template(own, folder)
        except ConfigError as error:
            raise ConfigError("The checkpoint has no chat template: choose a conversation config.") from error
    return replace(load_conversation(GENERIC, name), rules=rules)


def _own(model_type: str, folder: Path, tokenizer: Tokenizer, processor: Processor | None) -> Renderer | None:
    try:
        return Renderer(with_own_template(load_conversation(model_type), folder), tokenizer, processor)
    except ConfigError as error:
        _log.debug("the family's conversation config is used: %s", error)
        return None


def _agree(own: Renderer, family: Renderer, *, has_images: bool) -> bool:
    """Whether both make the same prompts of all short conversations that the checkpoint's own template can write."""
    trials = map(ChatRequest, _TRIALS + _TRIALS_WITH_IMAGES * has_images)
    pairs = [(_prompt(own, trial), _prompt(family, trial)) for trial in trials]
    return all(expected is None or expected == ours for expected, ours in pairs)


def _prompt(renderer: Renderer, request: ChatRequest) -> list[list[int]] | None:
    try:
        return renderer.text_ids(request)
    except InvalidRequest:
        return None

"""Which conversation config a checkpoint gets when the operator names none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from foveal.conversation.choose import renderer_of
from foveal.conversation.tokenizer import Tokenizer
from foveal.errors import CheckpointError, ConfigError
from tests.builders import byte_tokenizer
from tests.conversation.builders import chat

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.conversation.render import Renderer

QWEN = """
{%- if messages[0].role != "system" %}{{ "<|im_start|>system\n" + default + "<|im_end|>\n" }}{% endif %}
{%- for message in messages %}{{ "<|im_start|>" + message.role + "\n" + message.content + "<|im_end|>\n" }}{% endfor %}
{%- if add_generation_prompt %}{{ "<|im_start|>assistant\n" }}{% endif %}"""
ASKED = chat(("user", "Q"))


def test_a_template_that_writes_what_the_family_s_does_is_not_needed(tmp_path: Path) -> None:
    own_template(tmp_path, QWEN, "You are a helpful assistant.")

    assert fragments(renderer("qwen2", tmp_path)) == fragments(renderer("qwen2", tmp_path, "qwen2_vl"))
    assert not renderer("qwen2", tmp_path)._config.published


def test_a_template_that_differs_is_taken(tmp_path: Path) -> None:
    own_template(tmp_path, QWEN, "You are Qwen.")

    assert "You are Qwen." in fragments(renderer("qwen2", tmp_path))
    assert "You are Qwen." not in fragments(renderer("qwen2", tmp_path, "qwen2_vl"))


@pytest.mark.parametrize(("default", "is_told"), [("You are Qwen.", True), ("You are a helpful assistant.", False)])
def test_a_named_config_that_writes_other_prompts_than_the_checkpoint_s_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, default: str, is_told: bool
) -> None:
    own_template(tmp_path, QWEN, default)
    renderer("qwen2", tmp_path, "qwen2_vl")

    assert ("--conversation qwen2_vl writes other prompts" in caplog.text) == is_told


def test_what_the_checkpoint_s_template_cannot_write_tells_nothing(tmp_path: Path) -> None:
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    own_template(tmp_path, refusal + QWEN, "You are a helpful assistant.")

    assert not renderer("qwen2", tmp_path)._config.published


def test_one_that_cannot_be_used_leaves_the_family_s(tmp_path: Path) -> None:
    own_template(tmp_path, "nothing", "")

    assert fragments(renderer("qwen2", tmp_path)) == fragments(renderer("qwen2", tmp_path, "qwen2_vl"))
    with pytest.raises(ConfigError, match="cannot be used"):
        renderer("qwen2", tmp_path, "checkpoint")


def test_a_checkpoint_without_the_family_s_bos_is_served_with_its_own_template(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no token <bos>"):
        renderer("gemma3_text", tmp_path, tokens=())

    own_template(tmp_path, QWEN, "S")

    assert fragments(renderer("gemma3_text", tmp_path, tokens=())).startswith("<|im_start|>system")


def own_template(folder: Path, template: str, default: str) -> None:
    (folder / "chat_template.jinja").write_text(f"{{% set default = {default!r} %}}" + template)


def renderer(
    model_type: str, folder: Path, name: str | None = None, tokens: tuple[str, ...] = ("<|im_start|>", "<|im_end|>")
) -> Renderer:
    return renderer_of(model_type, name, folder, Tokenizer(byte_tokenizer(tokens)), None)


def fragments(subject: Renderer) -> str:
    return "".join(map(str, subject.render(ASKED).fragments()))

"""Every packaged config is valid, one is found by model type or by name, and a broken file is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal.conversation.config import ConversationConfig, PromptRules, load_conversation, names, parse
from foveal.conversation.template import Template
from foveal.errors import ConfigError


@pytest.mark.parametrize("name", names())
def test_every_packaged_config_is_valid(name: str) -> None:
    config = load_conversation("none", name)
    Template(config)
    assert config.name == name


def test_each_model_type_has_one_config() -> None:
    listed = [model_type for name in names() for model_type in load_conversation("none", name).model_types]
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize(
    ("model_type", "expected"), [("phi3_v", "phi3_v"), ("qwen2_5_vl", "qwen2_vl"), ("idefics3", "smolvlm")]
)
def test_a_model_type_has_its_own_config(model_type: str, expected: str) -> None:
    assert load_conversation(model_type).name == expected


def test_a_chosen_config_keeps_the_family_s_rules() -> None:
    chosen, own = load_conversation("phi3_v", "vicuna"), load_conversation("phi3_v")
    assert (chosen.name, chosen.template != own.template, chosen.rules) == ("vicuna", True, own.rules)


def test_a_config_that_lists_the_model_type_brings_its_own_rules(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('model_types = ["phi3_v"]\ntemplate = "x"\n[rules]\nbos_token = "<b>"\n')
    assert load_conversation("phi3_v", str(path)).rules == PromptRules(bos_token="<b>")


@pytest.mark.parametrize(
    ("model_type", "name", "message"),
    [
        ("unheard_of", None, "model type unheard_of: choose one of gemma3, "),
        ("phi3_v", "unheard_of", "no conversation config unheard_of: choose one of gemma3, "),
        ("phi3_v", "missing.toml", "missing.toml cannot be read: No such file"),
    ],
)
def test_a_config_that_is_not_there_is_refused(model_type: str, name: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_conversation(model_type, name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("template = ", "mine: "),
        ("", "template"),
        ("template = 1", "str"),
        ('template = "x"\nstopp = []', "unknown keys stopp; known are "),
        ('template = "x"\n[rules]\nbos = "<s>"', "unknown keys bos; known are after_image, "),
        ('template = "x"\nimage_roles = ["robot"]', "robot"),
        ('template = "x"\nrules = 1', "expected a table, got int"),
    ],
)
def test_a_broken_file_is_refused_with_its_fault(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse("mine", text)


def test_a_template_with_a_syntax_error_is_refused() -> None:
    with pytest.raises(ConfigError, match="mine, line 2"):
        Template(ConversationConfig("mine", "\n{% for %}"))

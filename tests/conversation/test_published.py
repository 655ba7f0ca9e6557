"""A checkpoint's own chat template: where it is found, what it is given, and that it can do no more than ours.

(That it writes the same as in the reference library is tested in parity/.)
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from foveal.conversation.config import load_conversation
from foveal.conversation.published import with_own_template
from foveal.conversation.template import Template
from foveal.errors import ConfigError, InvalidRequest
from tests.conversation.builders import IMAGE, chat

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.types import ChatRequest

CONTENTS = "{% for message in messages %}({{ message.content }}){% endfor %}"
PARTS = """{% for message in messages %}{% for part in message['content'] -%}
{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %};{% endfor %}"""


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("chat_template.jinja", CONTENTS),
        ("chat_template.json", json.dumps({"chat_template": CONTENTS})),
        ("tokenizer_config.json", json.dumps({"chat_template": CONTENTS})),
        (
            "tokenizer_config.json",
            json.dumps(
                {"chat_template": [{"name": "tools", "template": "x"}, {"name": "default", "template": CONTENTS}]}
            ),
        ),
    ],
)
def test_the_template_is_found_in_each_of_its_places(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / file).write_text(content)

    assert written(tmp_path, chat(("user", "Q")), "llama") == "(Q)"


def test_the_newest_place_counts(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("new" + CONTENTS)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "old" + CONTENTS}))

    assert written(tmp_path, chat(("user", "Q")), "llama") == "new(Q)"


def test_the_rules_stay_the_family_s_but_for_the_end(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(PARTS)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>"}))
    family = load_conversation("llava")

    chosen = with_own_template(family, tmp_path)

    assert chosen.image_mark == family.image_mark
    assert "tool" in chosen.image_roles  # results may be pictures
    assert chosen.rules == replace(family.rules, stop_tokens=(*family.rules.stop_tokens, "<end>"))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CONTENTS.replace("message.content", "message.content + ''"), "(@\nQ1)(A)(Q2)"),  # strings, with marks in them
        (PARTS, "@Q1;A;Q2;"),  # lists
    ],
)
def test_the_shape_of_content_is_found_by_trying(tmp_path: Path, template: str, expected: str) -> None:
    (tmp_path / "chat_template.jinja").write_text(template)

    question = chat(("user", [IMAGE, "Q1"]), ("assistant", "A"), ("user", "Q2"))

    assert written(tmp_path, question, "llava") == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ bos_token }}" + CONTENTS + "{{ eos_token }}", "<s>(Q)</s>"),
        (CONTENTS + "{% if add_generation_prompt %}A:{% endif %}", "(Q)A:"),
        (CONTENTS + "{% if tools %}tools{% endif %}{{ nothing }}", "(Q)"),
        ("{% generation %}" + CONTENTS + "{% endgeneration %}", "(Q)"),
        ("{% set n = namespace(x=1) %}{{ n.x }}" + CONTENTS, "1(Q)"),
        (CONTENTS + "{% for i in range(3) %}{% if i == 1 %}{% break %}{% endif %}{{ i }}{% endfor %}", "(Q)0"),
        ("{{ '' if strftime_now is defined else '26 Jul 2024' }}" + CONTENTS, "26 Jul 2024(Q)"),  # the same every day
    ],
)
def test_it_is_shown_what_the_reference_library_shows_it(tmp_path: Path, template: str, expected: str) -> None:
    (tmp_path / "chat_template.jinja").write_text(template)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}}))

    assert written(tmp_path, chat(("user", "Q")), "llama") == expected


@pytest.mark.parametrize(("filtered", "expected"), [(" | trim", "(Q)"), (".lstrip()", "(Q )"), ("", "( Q )")])
def test_what_it_trims_is_trimmed(tmp_path: Path, filtered: str, expected: str) -> None:
    (tmp_path / "chat_template.jinja").write_text(CONTENTS.replace("message.content", "message.content" + filtered))

    assert written(tmp_path, chat(("user", " Q ")), "llama") == expected


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}" + CONTENTS,
        "{{ messages.append(1) }}" + CONTENTS,
        "{{ lipsum() }}" + CONTENTS,
        "{{ raise_exception('no') }}" + CONTENTS,
        "nothing",
    ],
)
def test_one_that_cannot_be_used_is_refused_when_it_is_loaded(tmp_path: Path, template: str) -> None:
    (tmp_path / "chat_template.jinja").write_text(template)

    with pytest.raises(ConfigError, match="cannot be used"):
        written(tmp_path, chat(("user", "Q")), "llama")


def test_what_it_refuses_is_refused_with_a_fixed_text(tmp_path: Path) -> None:
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('secret') }}{% endif %}" + CONTENTS
    (tmp_path / "chat_template.jinja").write_text(template)

    with pytest.raises(InvalidRequest, match="cannot express these messages"):
        written(tmp_path, chat(("system", "S"), ("user", "Q")), "llama")


def test_a_checkpoint_without_one_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no chat template of its own: leave conversation at llava"):
        with_own_template(load_conversation("llava"), tmp_path)


def written(folder: Path, request: ChatRequest, model_type: str) -> str:
    segments = Template(with_own_template(load_conversation(model_type), folder)).render(request.messages)
    return "@".join("".join(run.text for run in segment) for segment in segments)

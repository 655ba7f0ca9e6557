"""Conversations are written as the reference library's `apply_chat_template` writes them.

Its SmolVLM template is inside the library. The others come with the checkpoints; those here were written for these
tests after what the published ones do: which turns there are, what is trimmed, what a conversation without a system
message begins with, and whether an image moves to the front of its message.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

from foveal.conversation.config import ConversationConfig, load_conversation
from foveal.conversation.published import with_own_template
from foveal.conversation.template import Template
from foveal.types import ImageRef, Message, Role
from tests.builders import byte_tokenizer

Turns = list[tuple[Role, list[str | None]]]  # None: an image

TWO_TURNS: Turns = [("system", [" S\n"]), ("user", [None, " Q1 "]), ("assistant", ["A1"]), ("user", [None, "Q2"])]
IMAGES_BETWEEN: Turns = [("user", ["Q1 ", None, " and ", None, "\n?"]), ("assistant", ["A1"]), ("user", ["Q2\n"])]
TEXT: Turns = [("user", ["Q1"]), ("assistant", ["A1"]), ("user", ["Q2"])]
IMAGES_FIRST: Turns = [("user", [None, None, "Q1 "]), ("assistant", ["A1"]), ("user", [None, "Q2"])]
EVERY = (TWO_TURNS, IMAGES_BETWEEN, TEXT, IMAGES_FIRST)


@dataclass(frozen=True)
class Published:
    """What a checkpoint brings. content: the shape in which its template takes a text-only message's content."""

    template: str
    bos_token: str = "<s>"
    content: str = "list"  # or "string"
    turns: tuple[Turns, ...] = EVERY
    variables: dict[str, str] = field(default_factory=dict)


CHATML = """
{%- macro written(content) -%}
    {%- if content is string -%}{{ content }}{%- else -%}
        {%- for part in content -%}{{ image_mark if part.type == "image" else part.text }}{%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- if default_system and messages[0].role != "system" -%}
    {{ "<|im_start|>system\n" + default_system + "<|im_end|>\n" }}
{%- endif -%}
{%- for message in messages -%}
    {{ "<|im_start|>" + message.role + "\n" + written(message.content) + "<|im_end|>\n" }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ "<|im_start|>assistant\n" }}{%- endif -%}
"""
QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"

LLAMA_3 = """
{%- macro turn(role) -%}{{ "<|start_header_id|>" + role + "<|end_header_id|>\n\n" }}{%- endmacro -%}
{{ bos_token }}
{%- set found = namespace(image=false, system=none) -%}
{%- if messages[0].role == "system" -%}
    {%- set found.system = messages[0].content -%}
    {%- set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages if message.content is not string -%}
    {%- for part in message.content if part.type == "image" -%}{%- set found.image = true -%}{%- endfor -%}
{%- endfor -%}
{%- if found.system is not none or not found.image -%}
    {{ turn("system") + "Cutting Knowledge Date: December 2023\nToday Date: " + date_string + "\n\n" }}
    {{- (found.system or "") | trim }}{{ "<|eot_id|>" }}
{%- endif -%}
{%- for message in messages -%}
    {{ turn(message.role) }}
    {%- if message.content is string -%}{{ message.content }}{%- else -%}
        {%- for part in message.content -%}{{ "<|image|>" if part.type == "image" else part.text }}{%- endfor -%}
    {%- endif -%}
    {{ "<|eot_id|>" }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ turn("assistant") }}{%- endif -%}
"""

LLAVA = """
{%- for message in messages -%}
    {%- if message.role != "system" -%}{{ message.role.upper() + ": " }}{%- endif -%}
    {%- for part in message.content if part.type == "image" -%}{{ "<image>\n" }}{%- endfor -%}
    {%- for part in message.content if part.type == "text" -%}{{ part.text + " " }}{%- endfor -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ "ASSISTANT:" }}{%- endif -%}
"""

LLAVA_NEXT = """
{%- for message in messages -%}
    {%- if message.role == "system" -%}
        {{ "<<SYS>>\n" + message.content[0].text + "\n<</SYS>>\n\n" }}
    {%- elif message.role == "user" -%}
        {{ "[INST] " }}
        {%- for part in message.content if part.type == "image" -%}{{ "<image>\n" }}{%- endfor -%}
        {%- for part in message.content if part.type == "text" -%}{{ part.text }}{%- endfor -%}
        {{ " [/INST]" }}
    {%- else -%}
        {{ " " + message.content[0].text + "</s> " }}
    {%- endif -%}
{%- endfor -%}
"""

GEMMA_3 = """
{{- bos_token }}
{%- set first = namespace(text="") -%}
{%- if messages[0].role == "system" -%}
    {%- set first.text = messages[0].content + "\n\n" -%}
    {%- set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages -%}
    {%- if (message.role == "user") != (loop.index0 % 2 == 0) -%}{{ raise_exception("roles") }}{%- endif -%}
    {{ "<start_of_turn>" + ("model" if message.role == "assistant" else message.role) + "\n" }}
    {{- first.text if loop.first else "" }}
    {%- if message.content is string -%}{{ message.content | trim }}{%- else -%}
        {%- for part in message.content -%}
            {{ "<start_of_image>" if part.type == "image" else part.text | trim }}
        {%- endfor -%}
    {%- endif -%}
    {{ "<end_of_turn>\n" }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ "<start_of_turn>model\n" }}{%- endif -%}
"""

GEMMA_4 = """
{{- bos_token }}
{%- for message in messages -%}
    {{ "<|turn>" + ("model" if message.role == "assistant" else message.role) + "\n" }}
    {%- if message.content is string -%}{{ message.content | trim }}{%- else -%}
        {%- for part in message.content -%}
            {{ "<|image|>" if part.type == "image" else part.text | trim }}
        {%- endfor -%}
    {%- endif -%}
    {{ "<turn|>\n" }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ "<|turn>model\n" }}
    {%- if empty_thought and not enable_thinking | default(false) -%}{{ "<|channel>thought\n<channel|>" }}{%- endif -%}
{%- endif -%}
"""

PHI_3 = """
{%- for message in messages -%}
    {{ "<|" + message.role + "|>\n" + message.content + "<|end|>\n" }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ "<|assistant|>\n" }}{%- endif -%}
"""

WITHOUT_BETWEEN = (TWO_TURNS, TEXT, IMAGES_FIRST)  # where the published template moves images to the front
PUBLISHED = {
    "smolvlm": Published(DEFAULT_CHAT_TEMPLATE, bos_token="<|im_start|>"),
    "idefics3": Published(
        DEFAULT_CHAT_TEMPLATE.replace("<|im_start|>", "<|begin_of_text|>"), bos_token="<|begin_of_text|>"
    ),
    "qwen2_vl": Published(
        CHATML,
        bos_token="",
        content="string",
        variables={"image_mark": QWEN_IMAGE, "default_system": "You are a helpful assistant."},
    ),
    "qwen3_vl": Published(CHATML, bos_token="", content="string", variables={"image_mark": QWEN_IMAGE}),
    "qwen3_5": Published(CHATML, bos_token="", content="string", variables={"image_mark": QWEN_IMAGE}),
    "internvl": Published(CHATML, bos_token="", variables={"image_mark": "<IMG_CONTEXT>\n"}),
    "mllama": Published(
        LLAMA_3, bos_token="<|begin_of_text|>", content="string", variables={"date_string": "26 Jul 2024"}
    ),
    "llava": Published("<s>" + LLAVA.lstrip(), turns=WITHOUT_BETWEEN),
    "llava_next": Published("<s>" + LLAVA_NEXT.lstrip(), turns=WITHOUT_BETWEEN),
    "gemma3": Published(GEMMA_3, bos_token="<bos>", content="string"),
    "gemma4": Published(GEMMA_4, bos_token="<bos>", variables={"empty_thought": ""}),
    "phi3_v": Published("<s>" + PHI_3.lstrip(), content="string with marks"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_family_s_config_writes_a_conversation_as_the_checkpoint_s_template_does(name: str) -> None:
    published, config = PUBLISHED[name], load_conversation(name)

    for turns in published.turns:
        assert published.bos_token + written(config, turns) == expected(published, turns)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_checkpoint_s_own_template_writes_what_it_writes_in_the_reference(tmp_path: Path, name: str) -> None:
    published = PUBLISHED[name]
    settings = "".join(f"{{%- set {key} = {value!r} %}}" for key, value in published.variables.items())
    (tmp_path / "chat_template.jinja").write_text(settings + published.template)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": published.bos_token}))
    config = with_own_template(load_conversation(name), tmp_path)

    for turns in published.turns:
        assert written(config, turns) == expected(published, turns)


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_answer_that_was_begun_is_gone_on_with_as_in_the_reference(tmp_path: Path, name: str) -> None:
    published = PUBLISHED[name]
    settings = "".join(f"{{%- set {key} = {value!r} %}}" for key, value in published.variables.items())
    (tmp_path / "chat_template.jinja").write_text(settings + published.template)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": published.bos_token}))
    family = load_conversation(name)
    turns: Turns = [*IMAGES_FIRST, ("assistant", ["A2 is"])]

    expected_text = expected(published, turns, continues=True)

    assert written(with_own_template(family, tmp_path), turns, continues=True) == expected_text
    assert published.bos_token + written(family, turns, continues=True) == expected_text


def test_an_answer_of_gemma_4_s_larger_models_begins_with_an_empty_thought(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{%- set empty_thought = true %}" + GEMMA_4)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<bos>"}))
    config = with_own_template(load_conversation("gemma4"), tmp_path)

    for turns in EVERY:
        text = written(config, turns)
        assert text == expected(replace(PUBLISHED["gemma4"], variables={"empty_thought": "yes"}), turns)
        assert text.endswith("<|turn>model\n<|channel>thought\n<channel|>")


@cache
def tokenizer(bos_token: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(()), bos_token=bos_token or None)


def expected(published: Published, turns: Turns, *, continues: bool = False) -> str:
    rendered = tokenizer(published.bos_token).apply_chat_template(
        [reference_message(role, parts, published.content) for role, parts in numbered(turns)],
        chat_template=published.template,
        tokenize=False,
        add_generation_prompt=not continues,
        continue_final_message=continues,
        **published.variables,
    )
    return str(rendered)


def written(config: ConversationConfig, turns: Turns, *, continues: bool = False) -> str:
    """What our template writes, image marks included."""
    messages = [Message(role, tuple(ImageRef("", 1) if x is None else x for x in parts)) for role, parts in turns]
    segments = Template(config).render(messages, continues=continues)
    first, *rest = ("".join(run.text for run in segment) for segment in segments)
    return first + "".join(config.image_mark.replace("{n}", str(n)) + text for n, text in enumerate(rest, 1))


def numbered(turns: Turns) -> list[tuple[Role, list[str | int]]]:
    """The turns with a number for each image."""
    numbers = iter(range(1, 99))
    return [(role, [next(numbers) if part is None else part for part in parts]) for role, parts in turns]


def reference_message(role: Role, parts: list[str | int], content: str) -> dict[str, Any]:
    if content == "string with marks":
        marks = (part if isinstance(part, str) else f"<|image_{part}|>\n" for part in parts)
        return {"role": role, "content": "".join(marks)}
    if content == "string" and all(isinstance(part, str) for part in parts):
        return {"role": role, "content": "".join(map(str, parts))}
    typed = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in parts]
    return {"role": role, "content": typed}

"""Prompts of text checkpoints have the token ids that transformers gives them, BOS and system prompt included.

The checkpoints' tokenizers are small, of the kinds that the published ones have. The templates were written for these
tests after what the published ones do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import tokenizers
from tokenizers import AddedToken, processors
from transformers import AutoTokenizer

from foveal.conversation.choose import renderer_of
from foveal.conversation.tokenizer import load_tokenizer
from foveal.types import CompletionRequest
from tests.conversation.builders import backend, chat

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.conversation.render import Renderer
    from foveal.types import ChatRequest

CHATML = """
{%- if messages[0].role != "system" %}{{ "<|im_start|>system\nSYSTEM<|im_end|>\n" }}{% endif %}
{%- for message in messages %}{{ "<|im_start|>" + message.role + "\n" + message.content + "<|im_end|>\n" }}{% endfor %}
{%- if add_generation_prompt %}{{ "<|im_start|>assistant\n" }}{% endif %}"""
DEEPSEEK = """{{ bos_token }}
{%- for message in messages %}
    {%- if message.role == "system" %}{{ message.content }}{% endif %}
    {%- if message.role == "user" %}{{ "<\uff5cUser\uff5c>" + message.content }}{% endif %}
    {%- if message.role == "assistant" %}{{ "<\uff5cAssistant\uff5c>" + message.content + eos_token }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ "<\uff5cAssistant\uff5c><think>\n" }}{% endif %}"""
MISTRAL = """{{ bos_token }}
{%- for message in messages %}
    {%- if message.role == "user" %}{{ "[INST] " + message.content + " [/INST]" }}
    {%- elif message.role == "assistant" %}{{ message.content + eos_token }}
    {%- else %}{{ raise_exception("roles") }}{% endif %}
{%- endfor %}"""
LLAMA_3_1 = """{{ bos_token }}
{%- if not date_string is defined %}{% set date_string = "26 Jul 2024" %}{% endif %}
{%- if messages[0].role == "system" %}
    {%- set system = messages[0].content | trim %}{% set messages = messages[1:] %}
{%- else %}{% set system = "" %}{% endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: " }}
{{- date_string + "\n\n" + system + "<|eot_id|>" }}
{%- for message in messages %}
    {{- "<|start_header_id|>" + message.role + "<|end_header_id|>\n\n" + message.content | trim + "<|eot_id|>" }}
{%- endfor %}
{%- if add_generation_prompt %}{{ "<|start_header_id|>assistant<|end_header_id|>\n\n" }}{% endif %}"""
PHI_3 = """{{ bos_token }}
{%- for message in messages %}{{ "<|" + message.role + "|>\n" + message.content + "<|end|>\n" }}{% endfor %}
{%- if add_generation_prompt %}{{ "<|assistant|>\n" }}{% endif %}"""


@dataclass(frozen=True)
class Brought:
    """What a checkpoint brings. adds_bos: whether its tokenizer puts a BOS before a text by itself."""

    model_type: str
    template: str
    kind: str = "byte_level"
    bos: str | None = "<s>"
    eos: str = "</s>"
    special: tuple[str, ...] = ()
    ordinary: tuple[str, ...] = ("<table>", "<b>", "\n\n")
    adds_bos: bool = False


QWEN3_5 = """
{%- for message in messages -%}
    {{ "<|im_start|>" + message.role + "\n" + message.content | trim + "<|im_end|>\n" }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ "<|im_start|>assistant\n<think>\n" }}{%- endif -%}
"""
IM = ("<|im_start|>", "<|im_end|>")
LLAMA_SPECIAL = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
BROUGHT = {
    "SmolLM2": Brought(
        "llama", CHATML.replace("SYSTEM", "You are SmolLM."), bos="<|im_start|>", eos="<|im_end|>", special=IM
    ),
    "Qwen2": Brought(
        "qwen2", CHATML.replace("SYSTEM", "You are a helpful assistant."), bos=None, eos="<|im_end|>", special=IM
    ),
    "Qwen2.5": Brought("qwen2", CHATML.replace("SYSTEM", "You are Qwen."), bos=None, eos="<|im_end|>", special=IM),
    "R1 distilled": Brought(
        "qwen2",
        DEEPSEEK,
        ordinary=("<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>", "<think>", "<table>"),
        adds_bos=True,
    ),
    "Qwen3.5": Brought(
        "qwen3_5_text",
        QWEN3_5,
        bos=None,
        eos="<|im_end|>",
        special=IM,
        ordinary=("<think>", "</think>", "<table>"),
    ),
    "Mistral": Brought("mistral", MISTRAL, "metaspace_first", adds_bos=True),
    "Llama 3.1": Brought(
        "llama", LLAMA_3_1, bos="<|begin_of_text|>", eos="<|eot_id|>", special=LLAMA_SPECIAL, adds_bos=True
    ),
    "Phi-3": Brought("phi3", PHI_3, eos="<|end|>"),
    "Phi-3, no BOS": Brought("phi3", PHI_3.removeprefix("{{ bos_token }}"), eos="<|end|>"),
}
CHATS = (
    chat(("user", "the shape")),
    chat(("system", "Be brief."), ("user", "a <table> of <b>"), ("assistant", "red\n\nround"), ("user", "why?\n\n")),
)


@pytest.fixture(params=BROUGHT)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Brought, Path]:
    brought: Brought = BROUGHT[request.param]
    built = tokenizers.Tokenizer.from_str(backend(brought.kind).to_str())
    built.add_special_tokens([AddedToken(name, normalized=False) for name in (brought.eos, *brought.special)])
    built.add_tokens([AddedToken(name, normalized=False) for name in brought.ordinary])
    if brought.bos and brought.adds_bos:
        bos_id = built.token_to_id(brought.bos)
        built.post_processor = processors.TemplateProcessing(
            f"{brought.bos} $A", special_tokens=[(brought.bos, bos_id)]
        )
    built.save(str(tmp_path / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": brought.bos,
        "eos_token": brought.eos,
        "chat_template": brought.template,
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    return brought, tmp_path


@pytest.mark.parametrize("name", [None, "checkpoint"])
@pytest.mark.parametrize("asked", CHATS)
def test_a_chat_has_the_reference_s_token_ids(
    checkpoint: tuple[Brought, Path], asked: ChatRequest, name: str | None
) -> None:
    brought, folder = checkpoint
    said = [each for each in asked.messages if brought.template != MISTRAL or each.role != "system"]
    messages = [{"role": each.role, "content": each.content[0]} for each in said]
    expected = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False
    )

    request = chat(*((each.role, each.content) for each in said))

    assert [*renderer(brought, folder, name).render(request).prompt.token_ids] == expected


@pytest.mark.parametrize("text", ["the shape", " <table><b>", "\n\nround"])
def test_a_completion_begins_as_the_reference_s_does(checkpoint: tuple[Brought, Path], text: str) -> None:
    brought, folder = checkpoint
    expected = AutoTokenizer.from_pretrained(folder)(text).input_ids

    prompt = renderer(brought, folder, "checkpoint").render(CompletionRequest(text)).prompt

    assert [*prompt.token_ids] == expected


def test_what_a_person_types_opens_no_turn(checkpoint: tuple[Brought, Path]) -> None:
    brought, folder = checkpoint
    marks = {brought.bos, brought.eos, *brought.special, *(name for name in brought.ordinary if "\uff5c" in name)} - {
        None
    }
    subject, tokenizer = renderer(brought, folder, None), load_tokenizer(folder)

    typed, plain = (subject.render(chat(("user", text))).prompt.token_ids for text in ("".join(map(str, marks)), "a"))

    ids = {tokenizer.token_id(str(name)) for name in marks}
    assert [each for each in typed if each in ids] == [each for each in plain if each in ids]


def renderer(brought: Brought, folder: Path, name: str | None) -> Renderer:
    return renderer_of(brought.model_type, name, folder, load_tokenizer(folder), None)

"""Each family's format is as published, and users' texts stay in their places, whatever is in them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from foveal.conversation.config import ConversationConfig, load_conversation
from foveal.conversation.template import Template
from foveal.conversation.tokenizer import Run
from foveal.errors import InvalidRequest
from foveal.types import ChatRequest, Message, Role
from tests.conversation.builders import IMAGE, chat

_TWO_TURNS = chat(("system", "S"), ("user", [IMAGE, "Q1"]), ("assistant", "A1"), ("user", "Q2"))
_TWO_TURNS_OF_TEXT = chat(("system", "S"), ("user", "Q1"), ("assistant", "A1"), ("user", "Q2"))
_PLAIN = chat(("user", "Q"))
_TEXT_MODELS = ("llama", "mistral", "phi3")

_DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
_PUBLISHED = {
    "phi3_v": (
        "<|system|>\nS<|end|>\n<|user|>\n@\nQ1<|end|>\n<|assistant|>\nA1<|end|>\n<|user|>\nQ2<|end|>\n<|assistant|>\n",
        "<|user|>\nQ<|end|>\n<|assistant|>\n",
    ),
    "vicuna": (
        "SYSTEM: S\n\nUSER: @\nQ1\n\nASSISTANT: A1\n\nUSER: Q2\n\nASSISTANT:",
        "USER: Q\n\nASSISTANT:",
    ),
    "mllama": (
        f"<|start_header_id|>system<|end_header_id|>\n\n{_DATES}"
        "S<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n@Q1<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nA1<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nQ2<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        f"<|start_header_id|>system<|end_header_id|>\n\n{_DATES}"
        "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "qwen2_vl": (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n@Q1<|im_end|>\n<|im_start|>assistant\nA1<|im_end|>\n"
        "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
    "qwen3_vl": (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n@Q1<|im_end|>\n<|im_start|>assistant\nA1<|im_end|>\n"
        "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n",
    ),
    "smolvlm": (
        "System: S<end_of_utterance>\nUser:@Q1<end_of_utterance>\nAssistant: A1<end_of_utterance>\n"
        "User: Q2<end_of_utterance>\nAssistant:",
        "User: Q<end_of_utterance>\nAssistant:",
    ),
    "llava": ("S USER: @\nQ1 ASSISTANT: A1 USER: Q2 ASSISTANT:", "USER: Q ASSISTANT:"),
    "llava_next": (
        "<<SYS>>\nS\n<</SYS>>\n\n[INST] @\nQ1 [/INST] A1</s> [INST] Q2 [/INST]",
        "[INST] Q [/INST]",
    ),
    "gemma3": (
        "<start_of_turn>user\nS\n\n@Q1<end_of_turn>\n<start_of_turn>model\nA1<end_of_turn>\n"
        "<start_of_turn>user\nQ2<end_of_turn>\n<start_of_turn>model\n",
        "<start_of_turn>user\nQ<end_of_turn>\n<start_of_turn>model\n",
    ),
    "llama": (
        "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nQ1<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nA1<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nQ2<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "mistral": ("[INST] S\n\nQ1 [/INST] A1</s>[INST] Q2 [/INST]", "[INST] Q [/INST]"),
    "phi3": (
        "<|system|>\nS<|end|>\n<|user|>\nQ1<|end|>\n<|assistant|>\nA1<|end|>\n<|user|>\nQ2<|end|>\n<|assistant|>\n",
        "<|user|>\nQ<|end|>\n<|assistant|>\n",
    ),
    "internvl": (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n@\nQ1<|im_end|>\n<|im_start|>assistant\nA1<|im_end|>\n"
        "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n",
    ),
}


@pytest.mark.parametrize("name", _PUBLISHED)
def test_a_conversation_is_written_as_published(name: str) -> None:
    two_turns = _TWO_TURNS_OF_TEXT if name in _TEXT_MODELS else _TWO_TURNS
    assert (_written(name, two_turns), _written(name, _PLAIN)) == _PUBLISHED[name]


def test_images_stand_where_they_stand() -> None:
    request = chat(("user", ["compare ", IMAGE, "with ", IMAGE]), ("assistant", "A"), ("user", [IMAGE, "now?"]))
    assert _written("phi3_v", request) == (
        "<|user|>\ncompare @\nwith @\n<|end|>\n<|assistant|>\nA<|end|>\n<|user|>\n@\nnow?<|end|>\n<|assistant|>\n"
    )


@pytest.mark.parametrize("name", sorted({*_PUBLISHED} - {"gemma3", "mistral"}))
def test_roles_may_come_in_any_order(name: str) -> None:
    request = chat(("user", "1"), ("user", "2"), ("system", "3"), ("assistant", "4"), ("assistant", "5"))
    texts = [run.text for segment in _render(name, request) for run in segment if not run.is_markup]
    assert texts == ["1", "2", "3", "4", "5"]


def test_an_empty_text_beside_an_image_is_no_text() -> None:
    assert _render("phi3_v", chat(("user", ["", IMAGE, ""]))) == _render("phi3_v", chat(("user", [IMAGE])))


@pytest.mark.parametrize(
    "text",
    ["<|end|>", "<|image_1|>", "<image>", "{{ messages }}", "{% for %}", "\x020\x03", "\x02", " spaced ", "\\1"],
)
def test_a_text_stays_one_run_whatever_it_says(text: str) -> None:
    runs = [run for segment in _render("phi3_v", chat(("user", [text, IMAGE, text]))) for run in segment]
    assert [run for run in runs if not run.is_markup] == [Run(text, is_markup=False)] * 2


def test_trimming_is_done_on_the_texts_themselves_of_the_roles_that_are_listed() -> None:
    request = chat(("system", " S "), ("user", [IMAGE, " Q\n"]), ("assistant", " A "), ("user", "Q"))
    assert _written("gemma3", request).startswith(
        "<start_of_turn>user\n S \n\n@Q<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n"
    )


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].content[0].text }}",  # leaves a text out
        "{% for m in messages %}{{ m.content[0].text * 2 }}{% endfor %}",  # repeats
        "{% for m in messages | reverse %}{{ m.content[0].text }}{% endfor %}",  # turns the order round
        "{% for m in messages %}{{ m.content[0].text }}{% endfor %}<image>",  # an image too many
        "{{ refuse() }}",
        "{{ nothing.there }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ 1 / 0 }}",
        "{{ range(9) }}",
    ],
)
def test_a_template_that_does_not_do_its_work_gives_a_fixed_text(template: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Template(ConversationConfig("mine", template)).render(chat(("user", "a"), ("user", "b")).messages)
    assert caught.value.message == (
        "This model's conversation format cannot express these messages: check the order of their roles."
    )


@pytest.mark.parametrize("roles", [["system"], ["user", "system", "user"], ["system", "assistant"]])
def test_gemma_has_a_place_for_a_system_message_before_the_first_user_turn_alone(roles: Sequence[Role]) -> None:
    request = chat(*((role, "text") for role in roles))
    with pytest.raises(InvalidRequest, match="order of their roles"):
        _render("gemma3", request)


def test_the_output_is_bounded() -> None:
    with pytest.raises(InvalidRequest, match="too many messages"):
        _render("mllama", ChatRequest((Message("user", ("",)),) * 20_000))


def _render(name: str, request: ChatRequest) -> list[list[Run]]:
    return Template(load_conversation("none", name)).render(request.messages)


def _written(name: str, request: ChatRequest) -> str:
    return "@".join("".join(run.text for run in segment) for segment in _render(name, request))

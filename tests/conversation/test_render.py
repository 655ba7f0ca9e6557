"""Requests -> prompts: where the BOS, the special tokens and the images are, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
import tokenizers
from tokenizers import AddedToken

from foveal.conversation.config import ConversationConfig, PromptRules, load_conversation
from foveal.conversation.render import NAME_NOT_SHOWN, Renderer
from foveal.conversation.tokenizer import Run, Tokenizer
from foveal.errors import CheckpointError, InvalidRequest
from foveal.types import ChatRequest, CompletionRequest, GenerationOptions, ImageRef, ImageSpan, Message
from tests.conversation.builders import IMAGE, backend, chat, images, processor, spelled, tokenizer

_REF = ImageRef("data:", 1)


def _id(token: str, kind: str = "byte_level") -> int:
    found = tokenizer(kind).token_id(token)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (chat(("user", "Q")), "<s><|user|>\nQ<|end|>\n<|assistant|>\n"),
        (chat(("user", [IMAGE, "Q"])), "<s><|user|>\nIMG<s>\nQ<|end|>\n<|assistant|>\n"),
        (
            chat(("system", "S"), ("user", [IMAGE, "Q"])),
            "<s><|system|>\nS<|end|>\n<|user|>\nIMG<s>\nQ<|end|>\n<|assistant|>\n",
        ),
        (
            chat(("user", ["a ", IMAGE, IMAGE, "b"]), ("assistant", "A"), ("user", [IMAGE])),
            "<s><|user|>\na IMG<s>\nIMG<s>\nb<|end|>\n<|assistant|>\nA<|end|>\n"
            "<|user|>\nIMG<s>\n<|end|>\n<|assistant|>\n",
        ),
    ],
)
def test_phi3_v_puts_a_bos_at_the_start_and_after_each_image(request_: ChatRequest, expected: str) -> None:
    prompt = _renderer().render(request_, images(len(request_.image_refs))).prompt
    assert spelled(prompt) == expected


def test_each_piece_of_phi3_v_is_tokenised_as_a_text_of_its_own() -> None:
    prompt = _renderer(kind="prepend").render(chat(("user", [IMAGE, "the shape"])), images(1)).prompt
    bos, image = _id("<s>", "prepend"), _id("<|image|>", "prepend")
    before, after = (
        backend("prepend").encode(text, add_special_tokens=False).ids
        for text in ("<|user|>\n", "\nthe shape<|end|>\n<|assistant|>\n")
    )
    assert [*prompt.token_ids] == [bos, *before, *[image] * 6, bos, *after]


def test_spans_are_where_the_features_stand() -> None:
    pictures = images(2)
    prompt = _renderer().render(chat(("user", [IMAGE, IMAGE, "Q"])), pictures).prompt
    starts = [place for place, token_id in enumerate(prompt.token_ids) if token_id == _id("<|image|>")][::6]
    assert [(placed.image, placed.spans) for placed in prompt.images] == [
        (picture, (ImageSpan(start, 2), ImageSpan(start + 2, 3)))
        for picture, start in zip(pictures, starts, strict=True)
    ]
    assert prompt.num_image_tokens == 12


def test_the_conversation_config_of_phi3_v_can_be_changed_to_vicuna() -> None:
    prompt = _renderer("vicuna").render(chat(("system", "S"), ("user", [IMAGE, "Q"])), images(1)).prompt
    assert spelled(prompt) == "<s>SYSTEM: S\n\nUSER: IMG<s>\nQ\n\nASSISTANT:"


def test_a_family_that_does_not_split_at_images_has_its_bos_at_the_start_alone() -> None:
    rules = PromptRules(bos_token="<s>", before_image="[", after_image="]")
    prompt = _renderer(config=_echo(rules)).render(chat(("user", ["a", IMAGE, "b", IMAGE])), images(2)).prompt
    assert spelled(prompt) == "<s>a[IMG]b[IMG]"


def test_text_between_images_does_not_begin_a_text_where_the_family_does_not_split() -> None:
    subject = _renderer(config=_echo(PromptRules()), kind="metaspace_first")
    prompt = subject.render(chat(("user", ["the", IMAGE, "the"])), images(1)).prompt
    assert spelled(prompt, "metaspace_first") == " theIMGthe"


@pytest.mark.parametrize("typed", ["<|end|>", "<|image|>", "<|image_1|>", "<image>", "<s>", "<|end|>\n<|system|>\n"])
def test_what_a_person_types_in_a_chat_is_text(typed: str) -> None:
    with_text = _renderer().render(chat(("user", [IMAGE, typed])), images(1)).prompt
    without = _renderer().render(chat(("user", [IMAGE, ""])), images(1)).prompt
    assert _special(with_text.token_ids) == _special(without.token_ids)


def test_a_mark_of_a_turn_is_text_to_people_even_if_the_tokenizer_does_not_call_it_special() -> None:
    built = tokenizers.Tokenizer.from_str(backend().to_str())
    built.add_tokens([AddedToken(name, normalized=False) for name in ("<User>", "<table>", "\n\n")])
    template = "{%- for message in messages %}{{ '<User>' ~ message.content[0].text ~ '\n\n' }}{%- endfor %}"
    subject = Renderer(ConversationConfig("marks", template), Tokenizer(built), None)
    user, table, lines = map(built.token_to_id, ("<User>", "<table>", "\n\n"))

    token_ids = subject.render(chat(("user", "<User><table>\n\na"))).prompt.token_ids

    assert [token for token in token_ids if token in (user, table, lines)] == [user, table, lines, lines]


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [
        ("say", 0, "<s>say"),
        ("", 0, "<s>"),
        ("USER:<image>\nhi\n\nASSISTANT:", 1, "<s>USER:IMG<s>\nhi\n\nASSISTANT:"),
        ("<image><image>", 2, "<s>IMG<s>IMG<s>"),
    ],
)
def test_a_completion_is_taken_as_it_is_with_its_marks_replaced(text: str, count: int, expected: str) -> None:
    prompt = _renderer().render(CompletionRequest(text, (_REF,) * count), images(count)).prompt
    assert spelled(prompt) == expected


def test_special_tokens_of_a_completion_are_special_but_for_those_that_images_bring() -> None:
    prompt = _renderer().render(CompletionRequest("<|user|>\n<|image|><|end|>")).prompt
    assert _special(prompt.token_ids) == [_id("<s>"), _id("<|user|>"), _id("<|end|>")]
    assert spelled(prompt) == "<s><|user|>\n<|image|><|end|>"


def test_safe_tokenization_leaves_a_completion_its_image_marks_and_no_other_special_token() -> None:
    request = CompletionRequest("<|user|>\n<image><|end|>", (_REF,), safe_tokenization=True)
    prompt = _renderer().render(request, images(1)).prompt
    assert _special(prompt.token_ids) == [_id("<s>"), *[_id("<|image|>")] * 6, _id("<s>")]
    assert spelled(prompt) == "<s><|user|>\nIMG<s><|end|>"


def test_an_image_is_counted_with_its_separators() -> None:
    prompt = _renderer().render(chat(("user", [IMAGE, IMAGE])), images(2)).prompt
    assert prompt.num_text_tokens == len(prompt.token_ids) - 12


def test_fragments_are_the_prompt_as_it_is_written() -> None:
    bos, request = _id("<s>"), chat(("user", ["see ", IMAGE, "Q"]))
    assert _renderer().render(request, images(1)).fragments() == [
        *[bos, "<|user|>\n", "see ", "<image>"],
        *[bos, "\n", "Q", "<|end|>\n<|assistant|>\n"],
    ]
    assert _renderer().render(CompletionRequest((5, 6))).fragments() == [5, 6]


@pytest.mark.parametrize(
    ("content", "is_warned"),
    [(["Q", IMAGE], True), ([IMAGE, "Q", IMAGE], True), ([IMAGE, IMAGE, "Q"], False), (["", IMAGE], False)],
)
def test_text_before_an_image_is_warned_of_where_the_model_wants_images_first(
    content: list[object], is_warned: bool
) -> None:
    config = replace(_echo(PromptRules()), images_first=True)
    asked, pictures = chat(("user", content)), images(content.count(IMAGE))
    assert bool(_renderer(config=config).render(asked, pictures).warnings) is is_warned
    assert _renderer(config=_echo(PromptRules())).render(asked, pictures).warnings == ()


def test_names_that_no_template_shows_are_warned_of() -> None:
    named, plain = Message("user", ("Q",), "Ann"), Message("user", ("Q",))
    renderer = _renderer()
    assert renderer.render(ChatRequest((plain, named))).warnings == (NAME_NOT_SHOWN,)
    assert renderer.render(ChatRequest((plain,))).warnings == ()
    assert renderer.render(ChatRequest((named,))).prompt == renderer.render(ChatRequest((plain,))).prompt


def test_llama_3_2_vision_wants_images_first() -> None:
    assert load_conversation("mllama").images_first


def test_token_ids_are_the_prompt() -> None:
    assert _renderer().render(CompletionRequest((5, 0, 7))).prompt.token_ids == (5, 0, 7)


def test_the_image_mark_is_text_to_a_model_that_takes_no_images() -> None:
    prompt = _renderer(takes_images=False).render(CompletionRequest("a <image> tag")).prompt
    assert spelled(prompt) == "<s>a <image> tag"


_MARK_COUNT = "The number of <image> marks in the prompt (2) and the number of images (1) differ"
_REFUSED: list[tuple[ChatRequest | CompletionRequest, str]] = [
    (chat(), "messages must hold at least one message."),
    (chat(("assistant", [IMAGE])), "An image stands in a message of the assistant"),
    (chat(("system", [IMAGE]), ("user", "Q")), "Put it in a message of the user."),
    (chat(("user", "\ud800")), "half of a surrogate pair"),
    (CompletionRequest("\ud800"), "half of a surrogate pair"),
    (CompletionRequest("<image><image>", (_REF,)), _MARK_COUNT),
    (CompletionRequest("none", (_REF,)), "(0) and the number of images (1) differ"),
    (CompletionRequest((5,), (_REF,)), "A prompt of token ids has no place for images"),
    (CompletionRequest(()), "The prompt is empty."),
    (CompletionRequest((-1,)), "Token id -1 is outside the vocabulary"),
    (CompletionRequest((tokenizer().vocab_size,)), "is outside the vocabulary, 0 to "),
    (CompletionRequest((_id("<|image|>"),)), "stands for an image and cannot be given by id."),
]


@pytest.mark.parametrize(("refused", "message"), _REFUSED)
def test_requests_without_a_prompt_are_refused_before_their_images_are_loaded(
    refused: ChatRequest | CompletionRequest, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(message)):
        _renderer().check(refused)


@pytest.mark.parametrize("refused", [chat(("user", [IMAGE])), CompletionRequest("<image>", (_REF,))])
def test_images_are_refused_by_a_model_that_takes_none(refused: ChatRequest | CompletionRequest) -> None:
    with pytest.raises(InvalidRequest, match="takes no images"):
        _renderer(takes_images=False).check(refused)


def test_an_empty_completion_is_refused_where_no_bos_stands_before_it() -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        _renderer(config=_echo(PromptRules())).check(CompletionRequest(""))


def test_of_several_bos_tokens_the_first_that_the_tokenizer_has_is_taken() -> None:
    rules = PromptRules(bos_token=("<bos>", "<s>", "<|end|>"))

    prompt = _renderer(config=_echo(rules)).render(chat(("user", "Q"))).prompt

    assert prompt.token_ids[0] == _id("<s>")
    assert prompt.token_ids[1] != _id("<|end|>")


def test_a_family_may_do_without_a_bos_where_the_tokenizer_has_none() -> None:
    rules = PromptRules(bos_token=("<bos>", "a", ""))  # "a" is an ordinary token

    prompt = _renderer(config=_echo(rules)).render(chat(("user", "<s>Q"))).prompt

    assert prompt.token_ids == tuple(tokenizer().encode([Run("<s>Q", is_markup=False)]))


def test_a_tokenizer_without_the_config_s_bos_is_refused() -> None:
    with pytest.raises(CheckpointError, match="no token <bos>, which the conversation config echo needs"):
        _renderer(config=_echo(PromptRules(bos_token="<bos>")))


def test_an_answer_ends_at_the_stop_tokens_that_the_tokenizer_has() -> None:
    assert _renderer().stop_token_ids == (_id("<|end|>"),)


def test_the_config_s_stop_strings_are_for_chats_only() -> None:
    subject, options = _renderer("vicuna"), GenerationOptions(stop=("x",))
    requests = (replace(chat(("user", "Q")), options=options), CompletionRequest("Q", options=options))
    assert [subject.render(request).stop for request in requests] == [("x", "\n\nUSER:"), ("x",)]


def _renderer(
    style: str | None = None,
    *,
    kind: str = "byte_level",
    takes_images: bool = True,
    config: ConversationConfig | None = None,
) -> Renderer:
    config = config or load_conversation("phi3_v", style)
    return Renderer(config, tokenizer(kind), processor(kind) if takes_images else None)


def _echo(rules: PromptRules) -> ConversationConfig:
    """A style that prints the contents and nothing else."""
    template = """{%- for message in messages %}
        {%- for part in message.content %}
            {{- "<image>" if part.type == "image" else part.text }}
        {%- endfor %}
    {%- endfor %}"""
    return ConversationConfig("echo", template, rules=rules)


def _special(token_ids: Sequence[int]) -> list[int]:
    return [token_id for token_id in token_ids if tokenizer().is_special(token_id)]

"""A request and its images -> Rendered: prompt token ids, image spans, stop strings.

Decides where the BOS goes, which requests no prompt can be made of, and what is a special token: a template's, and in
a completion the client's own, but never an image token. Knows nothing of pixels, sampling or the wire.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial

from foveal.conversation.config import ConversationConfig
from foveal.conversation.lengths import is_long, surely_exceeds
from foveal.conversation.planned import Plan, planned
from foveal.conversation.rendered import EchoedPrompt, Rendered
from foveal.conversation.template import Template
from foveal.conversation.tokenizer import Run, Tokenizer
from foveal.conversation.tools.writing import ToolWriting
from foveal.conversation.truncate import without_oldest_turns
from foveal.errors import CheckpointError, InvalidRequest, PromptTooLong
from foveal.models.family import Processor
from foveal.types import ChatRequest, CompletionRequest, Image, ImageRef, ImageSpan, Prompt, PromptImage, Reasoning

NO_LIMIT = 2**31
IMAGE_MARK = "<image>"  # where an image belongs in a completion's prompt, for every model
TEXT_BEFORE_IMAGE = (
    "Text stands before an image. This model was trained on images that come first and may refuse otherwise: put each "
    "message's images before its text."
)
NAME_NOT_SHOWN = (
    "The names of messages are not shown to the model: its conversation format has no place for them. Write them into "
    "the text where they matter."
)

REASONING_NOT_SHOWN = (
    "What was set about reasoning, or for the chat template, has no effect: this model's conversation format knows "
    "nothing of it."
)


class Renderer:
    """Makes prompts for one model. Immutable after construction; may be used from several threads at once."""

    def __init__(
        self,
        config: ConversationConfig,
        tokenizer: Tokenizer,
        processor: Processor | None,
    ) -> None:
        """`processor`: None for a model that takes no images.

        Raises ConfigError for a broken template, CheckpointError if the tokenizer lacks the BOS of the config.
        """
        self._config = config
        self._own: Renderer | None = None
        self._template = Template(config)
        self._writing = ToolWriting(config, self._template)
        self._reserved = _structural(config, tokenizer, self._template.markup())
        self._tokenizer = tokenizer.reserving(self._reserved)
        self._processor = processor
        self._bos = _bos(config, tokenizer)
        rules = config.rules
        self._image_ids = _ids(rules.image_tokens, tokenizer)
        self._image_token = re.compile("|".join(map(re.escape, rules.image_tokens)) or "(?!)")
        self.stop_token_ids = _ids(rules.stop_tokens, tokenizer)

    def with_own(self, own: Renderer) -> Renderer:
        """This renderer, with the checkpoint's own template for requests that its config has no place for."""
        self._own = own
        self._tokenizer = self._tokenizer.reserving(own._reserved)
        return self

    @property
    def supports_tools(self) -> bool:
        """Whether the model was trained for tools, as its template or its conversation config says."""
        return (self._own or self)._writing.is_for_tools

    def check(self, request: ChatRequest | CompletionRequest, max_tokens: int = NO_LIMIT) -> None:
        """Raises InvalidRequest, before any image is loaded, for a request that no prompt can be made of.

        (`render` raises for what only the template can tell, such as an order of roles that it cannot express.)
        """
        if self._processor is None and request.image_refs:
            raise InvalidRequest("This model takes no images.", param="images")
        if isinstance(request, ChatRequest):
            self._for(request)._check_messages(self._for(request)._adapted(request))
        elif isinstance(request.prompt, str):
            self._check_prompt(request.prompt, len(request.image_refs))
        else:
            if len(request.prompt) > max_tokens:
                raise PromptTooLong(len(request.prompt), max_tokens)
            self._check_token_ids(request.prompt, len(request.image_refs))

    def plan(self, request: ChatRequest | CompletionRequest) -> Plan:
        """What a request that has passed `check` may be answered with. Raises InvalidRequest."""
        if not isinstance(request, ChatRequest):
            return Plan(request.options.grammar)
        chosen = self._for(request)
        return chosen._plan(chosen._adapted(request), (self._own or self)._writing)

    def must_be_counted(self, request: ChatRequest | CompletionRequest, max_tokens: int) -> bool:
        """Whether `check_length` has any work for this request."""
        is_cut = isinstance(request, ChatRequest) and request.options.max_prompt_tokens is not None
        return not is_cut and is_long(request.texts, max_tokens)

    def check_length(self, request: ChatRequest | CompletionRequest, max_tokens: int) -> None:
        """Raises PromptTooLong where the text alone surely has more tokens: work that the context bounds.

        `render` is for requests that have passed: its work has no other bound.
        """
        if self._exceeds(request, max_tokens):
            raise PromptTooLong(max_tokens + 1, max_tokens, is_least=True)

    def render(
        self, request: ChatRequest | CompletionRequest, images: Sequence[Image] = (), max_tokens: int = NO_LIMIT
    ) -> Rendered:
        """Renders a request that has passed the checks, cut to `max_prompt_tokens` and to what leaves room to answer.

        `images`: in order of `image_refs`. Takes 0.1 ms for a short request and some 40 ms for 100,000 characters,
        these mostly without the interpreter lock: a long request belongs in a thread. Raises InvalidRequest.
        """
        assert len(images) == len(request.image_refs)
        if isinstance(request, ChatRequest):
            return self._for(request)._render(self._for(request)._adapted(request), images, max_tokens)
        return self._render(request, images, max_tokens)

    def _render(self, request: ChatRequest | CompletionRequest, images: Sequence[Image], max_tokens: int) -> Rendered:
        cut = request.options.max_prompt_tokens
        if isinstance(request, ChatRequest) and cut is not None:
            allowed = min(cut, max_tokens - 1)
            request, prompt = without_oldest_turns(request, images, allowed, self._prompt, self._exceeds)
        else:
            prompt = self._prompt(request, images)
        return Rendered(
            prompt,
            partial(self._fragments, request),
            stop=self._stop_strings(request),
            warnings=self._warnings(request),
            echo=self._echo(request, prompt),
            continues=isinstance(request, CompletionRequest) or request.continues,
        )

    def _for(self, request: ChatRequest) -> Renderer:
        """The renderer whose template has a place for what the request brings."""
        return self._own if self._own and _brings_more(request) else self

    def _adapted(self, request: ChatRequest) -> ChatRequest:
        """The request with tools and results as the template can write them."""
        return self._writing.adapted(request) if _brings_more(request) else request

    def _plan(self, request: ChatRequest, writing: ToolWriting) -> Plan:
        """`writing`: the checkpoint's own, which knows the marks of its reasoning."""
        end, marks = "", None if request.continues else writing.marks  # an answer that has begun has no reasoning
        if marks:
            end = "".join(run.text for run in self._segments(request)[-1][-1:] if run.is_markup)
        return planned(request, end, self._writing.form, marks, self._tokenizer)

    def _exceeds(self, request: ChatRequest | CompletionRequest, limit: int) -> bool:
        is_markup = isinstance(request, CompletionRequest) and not request.safe_tokenization

        def count(piece: str) -> int:
            return len(self._tokenizer.encode([Run(piece, is_markup)]))

        return surely_exceeds(request.texts, limit, count)

    def _prompt(self, request: ChatRequest | CompletionRequest, images: Sequence[Image]) -> Prompt:
        if isinstance(request, CompletionRequest) and not isinstance(request.prompt, str):
            return Prompt(request.prompt)
        return self._join(self.text_ids(request), images)

    def text_ids(self, request: ChatRequest | CompletionRequest) -> list[list[int]]:
        """Token ids of the text before, between and after the images. Raises InvalidRequest."""
        segments = self._segments(request)
        return [self._encode(request, segments, number) for number in range(len(segments))]

    def _fragments(self, request: ChatRequest | CompletionRequest) -> list[str | int]:
        if isinstance(request, CompletionRequest) and not isinstance(request.prompt, str):
            return [*request.prompt]
        parts: list[str | int] = []
        segments = self._segments(request)
        for number in range(len(segments)):
            parts += [IMAGE_MARK] * (number > 0) + [*self._bos_of(request, segments, number)]
            parts += [run.text for run in self._runs(segments, number) if run.text]
        return parts

    def _warnings(self, request: ChatRequest | CompletionRequest) -> tuple[str, ...]:
        if not isinstance(request, ChatRequest):
            return ()
        is_late = self._config.images_first and any(_has_text_before_image(m.content) for m in request.messages)
        is_named = any(message.name and message.role != "tool" for message in request.messages)
        is_idle = not self._config.published and (request.reasoning != Reasoning() or request.template_options)
        found = (TEXT_BEFORE_IMAGE,) * is_late + (NAME_NOT_SHOWN,) * is_named + (REASONING_NOT_SHOWN,) * bool(is_idle)
        return (*request.warnings, *found)

    def _stop_strings(self, request: ChatRequest | CompletionRequest) -> tuple[str, ...]:
        """The request's own, and in a chat those of the conversation config."""
        configured = self._config.stop if isinstance(request, ChatRequest) else ()
        return (*request.options.stop, *configured)

    def _echo(self, request: ChatRequest | CompletionRequest, prompt: Prompt) -> EchoedPrompt | None:
        options = request.options
        if not (options.echo or options.echo_last):
            return None
        shown = prompt.token_ids[-options.echo_last :]  # 0: all
        return EchoedPrompt(self._echoed_text(request, prompt, shown), shown)

    def _echoed_text(self, request: ChatRequest | CompletionRequest, prompt: Prompt, shown: tuple[int, ...]) -> str:
        if request.options.echo_last:
            return self._tokenizer.decode(shown, continues=len(shown) < len(prompt.token_ids))
        if isinstance(request, ChatRequest):
            return "".join(part for part in self._fragments(request) if isinstance(part, str))
        return request.prompt if isinstance(request.prompt, str) else self._tokenizer.decode(request.prompt)

    def _check_messages(self, request: ChatRequest) -> None:
        if not request.messages:
            raise InvalidRequest("messages must hold at least one message.", param="messages")
        roles = self._config.image_roles
        for message in request.messages:
            if message.role not in roles and not all(isinstance(part, str) for part in message.content):
                raise InvalidRequest(
                    f"An image stands in a message of the {message.role}, where this model's conversation format has "
                    f"no place for one. Put it in a message of the {' or the '.join(roles)}.",
                    param="messages",
                )
        _require_unicode(request.texts, "messages")

    def _check_prompt(self, prompt: str, num_images: int) -> None:
        _require_unicode([prompt], "prompt")
        num_marks = 0 if self._processor is None else prompt.count(IMAGE_MARK)
        if num_marks != num_images:
            raise InvalidRequest(
                f"The number of {IMAGE_MARK} marks in the prompt ({num_marks}) and the number of images ({num_images}) "
                "differ: give one image for each mark, in order.",
                param="images",
            )
        if not prompt and not self._bos:
            raise InvalidRequest("The prompt is empty.", param="prompt")

    def _check_token_ids(self, token_ids: Sequence[int], num_images: int) -> None:
        if num_images:
            raise InvalidRequest(
                f"A prompt of token ids has no place for images: give it as text with {IMAGE_MARK} where each belongs.",
                param="images",
            )
        if not token_ids:
            raise InvalidRequest("The prompt is empty.", param="prompt")
        size = self._tokenizer.vocab_size
        for token_id in token_ids:
            if not 0 <= token_id < size:
                raise InvalidRequest(f"Token id {token_id} is outside the vocabulary, 0 to {size - 1}.", "prompt")
            if token_id in self._image_ids:
                raise InvalidRequest(f"Token id {token_id} stands for an image and cannot be given by id.", "prompt")

    def _segments(self, request: ChatRequest | CompletionRequest) -> list[list[Run]]:
        """The text before, between and after the images."""
        if isinstance(request, ChatRequest):
            tools = request.tools if self._writing.is_native else ()
            variables = template_variables(request)
            return self._template.render(request.messages, tools, variables, continues=request.continues)
        assert isinstance(request.prompt, str)
        return self._completion(request.prompt, not request.safe_tokenization)

    def _at_marks(self, prompt: str) -> list[str]:
        return [prompt] if self._processor is None else prompt.split(IMAGE_MARK)

    def _completion(self, prompt: str, is_markup: bool) -> list[list[Run]]:
        """The text around the marks. It is markup if the client wants it, except tokens that only images may add."""
        if not is_markup:
            return [[Run(text, is_markup=False)] for text in self._at_marks(prompt)]
        return [self._except_image_tokens(text) for text in self._at_marks(prompt)]

    def _except_image_tokens(self, text: str) -> list[Run]:
        runs, start = [], 0
        for found in self._image_token.finditer(text):
            runs += [Run(text[start : found.start()], is_markup=True), Run(found[0], is_markup=False)]
            start = found.end()
        return [*runs, Run(text[start:], is_markup=True)]

    def _join(self, texts: list[list[int]], images: Sequence[Image]) -> Prompt:
        token_ids, placed = [*texts[0]], []
        for image, text in zip(images, texts[1:], strict=True):
            assert self._processor is not None
            placeholder = self._processor.placeholder(image.layout)
            spans = tuple(ImageSpan(len(token_ids) + span.offset, span.length) for span in placeholder.spans)
            placed.append(PromptImage(image, spans, len(placeholder.token_ids)))
            token_ids += placeholder.token_ids
            token_ids += text
        return Prompt(tuple(token_ids), tuple(placed))

    def _encode(
        self, request: ChatRequest | CompletionRequest, segments: Sequence[Sequence[Run]], number: int
    ) -> list[int]:
        """Token ids of the text after image `number`, 0 for the text before the first."""
        at_start = number == 0 or self._config.rules.split_at_images
        text = self._tokenizer.encode(self._runs(segments, number), at_start=at_start)
        return [*self._bos_of(request, segments, number), *text]

    def _bos_of(
        self, request: ChatRequest | CompletionRequest, segments: Sequence[Sequence[Run]], number: int
    ) -> tuple[int, ...]:
        """The BOS, where the text after image `number` is tokenised separately."""
        if number > 0:
            return self._bos if self._config.rules.split_at_images else ()
        is_decided = isinstance(request, ChatRequest) and self._config.published
        return () if is_decided and self._decides_about_bos(segments[0]) else self._bos

    def _decides_about_bos(self, first: Sequence[Run]) -> bool:
        """In transformers a tokenizer's template alone decides. A processor adds the BOS that the template lacks."""
        bos = self._config.bos_token
        return self._processor is None or (bos != "" and first[0].text.startswith(bos))

    def _runs(self, segments: Sequence[Sequence[Run]], number: int) -> list[Run]:
        """The text after image `number` with what the family writes around each image."""
        rules, runs = self._config.rules, [*segments[number]]
        if number > 0:
            runs = [Run(rules.after_image, is_markup=True), *runs]
        if number < len(segments) - 1:
            runs = [*runs, Run(rules.before_image, is_markup=True)]
        return runs


def template_variables(request: ChatRequest) -> dict[str, object]:
    """What a request sets for the checkpoint's own template, under the names that templates use."""
    asked = request.reasoning
    switches = {} if asked.enabled is None else {"enable_thinking": asked.enabled, "thinking": asked.enabled}
    effort = {} if asked.effort is None else {"reasoning_effort": asked.effort}
    return {**switches, **effort, **request.template_options}


def _brings_more(request: ChatRequest) -> bool:
    """Whether it has more than messages of system, user and assistant."""
    has_more = any(m.role == "tool" or m.tool_calls or m.reasoning for m in request.messages)
    return bool(has_more or request.tools or request.template_options or request.reasoning != Reasoning())


def _structural(config: ConversationConfig, tokenizer: Tokenizer, markup: str) -> list[str]:
    """Tokens that only markup may add, special or not: a person who types one must not open a turn or add an image.

    White space is for everybody, though it may be one added token, as line breaks are in Gemma.
    """
    rules = config.rules
    names = {*rules.image_tokens, *rules.stop_tokens, *_bos_names(config, tokenizer)}
    written = tokenizer.added_tokens_in(markup + rules.before_image + rules.after_image)
    return [name for name in names | written if name.strip(" \n\t▁")]


def _bos_names(config: ConversationConfig, tokenizer: Tokenizer) -> tuple[str, ...]:
    """The tokens that may be the BOS. With the checkpoint's own template it is what its tokenizer adds."""
    wanted = config.rules.bos_token
    if config.published and not config.rules.split_at_images:
        return (tokenizer.prepended,)
    return (wanted,) if isinstance(wanted, str) else tuple(name or tokenizer.prepended for name in wanted)


def _bos(config: ConversationConfig, tokenizer: Tokenizer) -> tuple[int, ...]:
    names = _bos_names(config, tokenizer)
    found = tuple(filter(tokenizer.is_special, _ids(names, tokenizer)))  # Qwen2 has an ordinary token <s>
    if not found and "" not in names:
        needed = f"{' or '.join(names)}, which the conversation config {config.name} needs"
        raise CheckpointError(f"tokenizer.json has no token {needed}.")
    return found[:1]


def _ids(names: Sequence[str], tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids of those tokens that this tokenizer has."""
    return tuple(token_id for name in names if (token_id := tokenizer.token_id(name)) is not None)


def _has_text_before_image(content: Sequence[str | ImageRef]) -> bool:
    is_text = [isinstance(part, str) for part in content if part]
    return is_text != sorted(is_text)


def _require_unicode(texts: Iterable[str], param: str) -> None:
    """JSON can write half of a surrogate pair, which is no character and has no tokens."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest("The text holds half of a surrogate pair: send valid Unicode.", param) from error

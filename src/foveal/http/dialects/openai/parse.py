"""Bodies -> requests: interprets fields together and with the served model. Pure functions.

Nothing that is accepted is ignored: what a model cannot do is refused by name, unless the value means that it is off.
The ranges of single fields are in schemas.py.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, TypeVar, cast

from foveal.errors import InvalidRequest
from foveal.http.dialects.openai.response_format import grammar_for
from foveal.http.dialects.openai.schemas import MAX_CHOICES, FilePart, ImagePart
from foveal.http.dialects.openai.tools import (
    calls_of,
    choice_of,
    reasoning_of,
    result_id,
    template_options,
    tools_of,
)
from foveal.http.dialects.options import page_range
from foveal.http.dialects.tools import check_results
from foveal.types import (
    ChatRequest,
    CompletionRequest,
    File,
    GenerationOptions,
    ImageRef,
    Message,
    Role,
    SamplingParams,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from foveal.config import HttpConfig
    from foveal.http.dialects.openai.schemas import ChatBody, ChatMessage, CompletionBody, GenerationBody, Image
    from foveal.serving.pipeline import ModelCard

Body = TypeVar("Body", bound="GenerationBody")

SAMPLING_FIELDS = (
    "min_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "mirostat_lr",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "ignore_eos",
)
ISOLATION_HEADER = "x-prompt-cache-isolation-key"
# The image loader bounds the images of each prompt. All prompts of a request keep theirs in the arena at once.
MAX_IMAGES_OF_SEVERAL_PROMPTS = 30
ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def chat_request(body: ChatBody, card: ModelCard, config: HttpConfig, fresh_seed: int) -> ChatRequest:
    """`fresh_seed` is used where the client names none.

    Raises InvalidRequest with a sentence that names the field.
    """
    _refuse_if(body.safe_tokenization is False, "safe_tokenization", "is always on in chat")
    positions = count(1)
    messages = tuple(_message(message, index, positions) for index, message in enumerate(body.messages))
    check_results(messages, "messages.{}.tool_call_id")
    tools = tools_of(body)
    _refuse_if(bool(tools and body.ignore_eos), "ignore_eos", "leaves no end to an answer with tools")
    options = replace(_options(body, card, config, fresh_seed), max_prompt_tokens=body.prompt_truncate_len)
    return ChatRequest(
        messages,
        options,
        tools=tools,
        tool_choice=choice_of(body, tools),
        reasoning=reasoning_of(body),
        template_options=template_options(body),
    )


def completion_requests(
    body: CompletionBody, card: ModelCard, config: HttpConfig, fresh_seed: int
) -> tuple[CompletionRequest, ...]:
    """One request for each prompt. Raises InvalidRequest with a sentence that names the field."""
    options = _options(body, card, config, fresh_seed)
    prompts = _prompts(body)
    if len(prompts) * options.num_choices > MAX_CHOICES:
        raise InvalidRequest(f"prompts times n must be at most {MAX_CHOICES}, field: 'n'", param="n")
    positions = count(1)
    return tuple(
        CompletionRequest(
            prompt if isinstance(prompt, str) else tuple(prompt),
            tuple(ImageRef(source, next(positions)) for source in images),
            options,
            safe_tokenization=body.safe_tokenization or False,
        )
        for prompt, images in zip(prompts, _images_by_prompt(body, len(prompts)), strict=True)
    )


def isolated(body: Body, headers: Mapping[str, str]) -> Body:
    """The body with the isolation key of the request's header, where it has none itself."""
    key = headers.get(ISOLATION_HEADER)
    if key is None or body.prompt_cache_isolation_key is not None:
        return body
    return body.model_copy(update={"prompt_cache_isolation_key": key})


# --- chat -------------------------------------------------------------------------------------------------------------


def _message(message: ChatMessage, index: int, positions: Iterator[int]) -> Message:
    """`positions` numbers the images of the whole request."""
    where = f"messages.{index}"
    is_call = message.role == "assistant" and (message.tool_calls or message.function_call)
    for field in ("tool_calls", "function_call", "reasoning_content", "reasoning"):
        is_foreign = message.role != "assistant" and bool(getattr(message, field))
        _refuse_if(is_foreign, f"{where}.{field}", "belongs to messages of the assistant")
    _refuse_if(message.role != "tool" and bool(message.tool_call_id), f"{where}.tool_call_id", "belongs to a tool's")
    if message.content is None and message.role != "assistant":
        raise InvalidRequest(f"A message needs content, field: '{where}.content'", f"{where}.content")
    content = tuple(_content(message, positions))
    return Message(
        ROLES[message.role],
        () if is_call and content == ("",) else content,
        message.name or None,
        calls_of(message, where),
        result_id(message, where),
        message.reasoning_content or message.reasoning or "",
    )


def _content(message: ChatMessage, positions: Iterator[int]) -> Iterator[str | ImageRef]:
    if message.content is None or isinstance(message.content, str):
        yield message.content or ""
        return
    for part in message.content:
        if isinstance(part, ImagePart):
            yield _image_ref(part.image_url, next(positions))
        elif isinstance(part, FilePart):
            file = part.file
            yield ImageRef(file.file_data, next(positions), file=File(file.filename or "", page_range(file.pages)))
        else:
            yield part.text


def _image_ref(image: Image, position: int) -> ImageRef:
    if isinstance(image, str):
        return ImageRef(image, position)
    return ImageRef(image.url, position, image.max_soft_tokens or image.detail or "auto")


# --- completions ------------------------------------------------------------------------------------------------------


def _prompts(body: CompletionBody) -> list[str | list[int]]:
    if isinstance(body.prompt, str):
        return [body.prompt]
    is_one = isinstance(body.prompt[0], int)  # all entries are of one kind
    return cast("list[str | list[int]]", [body.prompt] if is_one else body.prompt)


def _images_by_prompt(body: CompletionBody, num_prompts: int) -> Sequence[Sequence[str]]:
    images = body.images or []
    if not images:
        return [[]] * num_prompts
    if isinstance(images[0], str):
        images = [images]
    if num_prompts > 1 and sum(map(len, images)) > MAX_IMAGES_OF_SEVERAL_PROMPTS:
        raise InvalidRequest(
            f"A request takes at most {MAX_IMAGES_OF_SEVERAL_PROMPTS} images, field: 'images'", param="images"
        )
    if len(images) != num_prompts:
        raise InvalidRequest(
            f"There are {num_prompts} prompts and {len(images)} lists of images: "
            "give each prompt a list of its own, [] where it has no image, field: 'images'",
            param="images",
        )
    return images


# --- both -------------------------------------------------------------------------------------------------------------


def _options(body: GenerationBody, card: ModelCard, config: HttpConfig, fresh_seed: int) -> GenerationOptions:
    _check_together(body)
    num_choices = body.n or 1
    if num_choices > config.max_num_choices:
        raise InvalidRequest(f"This server gives at most {config.max_num_choices} choices, field: 'n'", param="n")
    return GenerationOptions(
        sampling=_sampling(body, card, config, fresh_seed),
        max_tokens=_max_tokens(body),
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        grammar=grammar_for(body.response_format),
        num_choices=num_choices,
        when_too_long=body.context_length_exceeded_behavior or "truncate",
        echo=body.echo or False,
        echo_last=body.echo_last or 0,
        cache_salt=_cache_salt(body.prompt_cache_isolation_key),
        max_cached_tokens=body.prompt_cache_max_len,
        return_token_ids=body.return_token_ids or False,
        raw_output=body.raw_output or False,
    )


def _cache_salt(isolation_key: str | None) -> bytes:
    """A digest of the client's isolation key, so that no later stage can log or send the key itself."""
    return b"" if isolation_key is None else hashlib.sha256(b"isolation key\0" + isolation_key.encode()).digest()


def _sampling(body: GenerationBody, card: ModelCard, config: HttpConfig, fresh_seed: int) -> SamplingParams:
    """The checkpoint's defaults with what the client set."""
    named = {field: getattr(body, field) for field in SAMPLING_FIELDS if getattr(body, field) is not None}
    max_tokens = _max_tokens(body) or config.default_max_tokens
    if (body.min_tokens or 0) > max_tokens:
        raise InvalidRequest(f"min_tokens is over max_tokens, {max_tokens}, field: 'min_tokens'", param="min_tokens")
    return replace(
        card.default_sampling,
        max_tokens=max_tokens,
        seed=fresh_seed if body.seed is None else body.seed % 2**63,
        logit_bias=tuple(_logit_bias(body.logit_bias or {}, card.vocab_size)),
        mirostat_target=body.mirostat_target or None,
        num_logprobs=_num_logprobs(body),
        **named,
    )


def _max_tokens(body: GenerationBody) -> int | None:
    if None not in (body.max_tokens, body.max_completion_tokens) and body.max_tokens != body.max_completion_tokens:
        raise InvalidRequest("max_tokens and max_completion_tokens differ: send one, field: 'max_tokens'", "max_tokens")
    return body.max_completion_tokens if body.max_tokens is None else body.max_tokens


def _logit_bias(biases: Mapping[str, float], vocab_size: int) -> Iterator[tuple[int, float]]:
    for name, bias in biases.items():
        if not (name.isascii() and name.isdecimal() and len(name) < 10 and int(name) < vocab_size):
            raise InvalidRequest(
                f"The keys of logit_bias are token ids below {vocab_size}, field: 'logit_bias'", param="logit_bias"
            )
        yield int(name), bias


def _num_logprobs(body: GenerationBody) -> int | None:
    if body.logprobs is True:
        return body.top_logprobs or 0
    if body.top_logprobs:
        raise InvalidRequest("top_logprobs needs logprobs: true, field: 'top_logprobs'", param="top_logprobs")
    if body.logprobs is None or body.logprobs is False:
        return None
    return body.logprobs


def _check_together(body: GenerationBody) -> None:
    """Raises InvalidRequest for fields that contradict each other."""
    _refuse_if(body.store is True, "store", "is for POST responses: chats are not kept")
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options needs stream: true, field: 'stream_options'", param="stream_options")
    if body.ignore_eos and grammar_for(body.response_format) is not None:
        raise InvalidRequest(
            "response_format says where the answer ends, so there is no end to ignore: leave out one of the two, "
            "field: 'ignore_eos'",
            param="ignore_eos",
        )
    if (body.echo or body.echo_last) and body.logprobs is True:
        raise InvalidRequest(
            "The first token of a prompt has no logprob, for which only the older format has a place: with echo, set "
            "logprobs to a number from 0 to 5, field: 'logprobs'",
            param="logprobs",
        )


def _refuse_if(is_asked: bool, field: str, why: str) -> None:
    if is_asked:
        raise InvalidRequest(f"{field} {why}; leave it out, field: '{field}'", param=field)

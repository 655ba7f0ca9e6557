"""The records that cross folders, one for each boundary, in the order in which a request meets them.

    wire JSON -> ChatRequest | CompletionRequest -> Image -> Prompt -> Token -> Delta -> wire bytes

Nothing here computes more than a field from its neighbours, and nothing imports a framework: the same records
serve the server (no torch), the image workers and the engine. Sizes are in pixels, offsets in tokens unless said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal, NamedTuple

Role = Literal["system", "user", "assistant"]
Detail = Literal["auto", "low", "high"]
FinishReason = Literal["stop", "length"]
Status = Literal["finished", "failed", "aborted"]


# --- what the client asked -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and by which id the request is found again in the log and in the ledger."""

    request_id: str = ""
    key_id: str = ""  # "": nobody was asked for a key
    account: str = "default"  # its callers share what has been computed; other accounts cannot tell


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Where an image is, as the request names it: a URL, a data URL or bare base64."""

    source: str = field(repr=False)
    position: int  # 1-based place among the request's images; error messages name it
    detail: Detail = "auto"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. Content keeps the client's order: a str is text, an ImageRef stands where its image stands."""

    role: Role
    content: tuple[str | ImageRef, ...]
    name: str | None = None  # of who speaks; no conversation format here has a place for it


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer has to look like, as the client said it."""

    kind: Literal["json_schema", "grammar"]  # a JSON schema; a grammar in GBNF or in llguidance's Lark
    text: str


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen. Everything the engine needs and nothing it does not; defaults change nothing."""

    max_tokens: int = 2048
    min_tokens: int = 0  # stop tokens are not drawn before this many tokens
    temperature: float = 1.0  # 0: greedy
    top_k: int = 0  # 0: off
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    mirostat_target: float | None = None  # surprise per token, bits; None: off
    mirostat_lr: float = 0.1
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()  # (token id, added to its logit)
    seed: int = 0  # draws are a function of (seed, position) alone
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    num_logprobs: int | None = None  # None: none; k: the drawn token's and the k likeliest tokens'
    num_prompt_logprobs: int = 0  # of the prompt's last so many tokens, too
    grammar: str | None = None  # that the output is held to, as `engine.grammar.translate` gives it


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """What both kinds of request may say about the answer, after parsing and with the model's defaults filled in."""

    sampling: SamplingParams = SamplingParams()
    max_tokens: int | None = None  # None: what fits, up to the server's default
    stop: tuple[str, ...] = ()
    grammar: Grammar | None = None
    num_choices: int = 1
    when_too_long: Literal["truncate", "error"] = "truncate"  # context_length_exceeded_behavior
    echo: bool = False  # each answer begins with the prompt
    echo_last: int = 0  # or with the last so many tokens of it
    max_prompt_tokens: int | None = None  # a chat's oldest turns are left out until it fits
    cache_salt: bytes = b""  # of the prompt
    max_cached_tokens: int | None = None  # of the prompt; 0: nothing is shared with any other request


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat completion: the server formats the prompt."""

    messages: tuple[Message, ...]
    options: GenerationOptions = GenerationOptions()
    caller: Caller = Caller()

    @property
    def image_refs(self) -> tuple[ImageRef, ...]:
        return tuple(part for message in self.messages for part in message.content if isinstance(part, ImageRef))


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A completion: the prompt is taken as it is, with one `<image>` mark for each image."""

    prompt: str | tuple[int, ...]
    image_refs: tuple[ImageRef, ...] = ()
    options: GenerationOptions = GenerationOptions()
    safe_tokenization: bool = False  # what looks like a special token in the prompt is text
    caller: Caller = Caller()  # requests of one request id are parts of one, and are counted as one


# --- images -----------------------------------------------------------------------------------------------------------


class Size(NamedTuple):
    """Pixels, as people see the picture (EXIF orientation applied)."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ImageLayout:
    """How one family cuts an image of one size: decided once, by `Processor.layout`, and asked by everyone else."""

    size: Size  # of the decoded picture
    pixel_shape: tuple[int, ...]  # of the uint8 array that `Processor.prepare` returns
    grid: tuple[int, ...]  # the family's own numbers (crop rows and columns; patches; tiles)
    num_crops: int  # units of encoder work
    num_tokens: int  # that the image is counted as: those it takes in the prompt, or the states it is read from aside


@dataclass(frozen=True, slots=True)
class PixelRef:
    """Where prepared pixels lie in the pixel arena: uint8, C order."""

    offset: int  # bytes
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that is ready for the engine. The pixels stay in place for as long as its loader's context is open."""

    hash: bytes  # SHA-256 over the fetched bytes, the detail and the processor's settings: the key of every cache
    pixels: PixelRef
    layout: ImageLayout


# --- the prompt -------------------------------------------------------------------------------------------------------


class ImageSpan(NamedTuple):
    """A half-open range [offset, offset + length) of token positions that image features stand at."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Placeholder:
    """The token ids that stand for one image, and which runs of them take features (offsets from the first id)."""

    token_ids: tuple[int, ...]
    spans: tuple[ImageSpan, ...]


@dataclass(frozen=True, slots=True)
class PromptImage:
    """An image in a prompt. Its feature rows fill the spans in order."""

    image: Image
    spans: tuple[ImageSpan, ...]  # positions in the prompt, ascending, disjoint
    num_prompt_tokens: int = 0  # with separators; a family whose decoder sees images from aside has but one


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the engine is asked to continue. Invariant: every span lies inside token_ids."""

    token_ids: tuple[int, ...]
    images: tuple[PromptImage, ...] = ()
    cache_salt: bytes = b""  # prompts with different salts share no cached state
    max_cached_tokens: int | None = None  # of the prompt, that may be found computed; None: all

    @property
    def num_image_tokens(self) -> int:
        return sum(image.image.layout.num_tokens for image in self.images)

    @property
    def num_text_tokens(self) -> int:
        return len(self.token_ids) - sum(image.num_prompt_tokens for image in self.images)


# --- the answer -------------------------------------------------------------------------------------------------------


class TopLogprob(NamedTuple):
    token_id: int
    logprob: float


class PromptLogprob(NamedTuple):
    """Of one token of a prompt. None: it was not predicted: the first one, or a place of an image."""

    logprob: float | None
    top: tuple[TopLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token. The last one of a sequence, and only it, carries a finish_reason."""

    token_id: int
    finish_reason: FinishReason | None = None
    logprob: float | None = None
    top_logprobs: tuple[TopLogprob, ...] = ()
    num_cached_tokens: int = 0  # prompt tokens that were found computed, the same in every token of a sequence
    mirostat_mu: float | None = None  # what the sampler has to know for the next token, wherever it is drawn
    prompt_logprobs: tuple[PromptLogprob, ...] = ()  # in the first token of a sequence, if they were asked for


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's logprob with its text, as the wire formats want it."""

    token_id: int
    text: str
    bytes: bytes
    logprob: float | None  # None: it was not predicted
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Echo:
    """The part of the prompt that an answer begins with, and its tokens if their logprobs were asked for."""

    text: str
    tokens: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of one choice: text that is final, the logprobs of the tokens behind it, and perhaps the end.

    Its token ids are those generated since the last piece, whether their text is in it, held back or never shown.
    """

    index: int
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    token_ids: tuple[int, ...] = ()
    echo: Echo | None = None  # that its text begins with


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one request, the same numbers streamed or not."""

    prompt_tokens: int
    image_tokens: int  # what the images are to the model, which may be more than their part of the prompt
    text_tokens: int
    cached_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @classmethod
    def of_all(cls, usages: Sequence[Usage]) -> Usage:
        """Of several prompts together; of none: nothing."""
        return cls(**{count.name: sum(getattr(usage, count.name) for usage in usages) for count in fields(cls)})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer ended, and what it took."""

    usage: Usage
    status: Status
    first_token_s: float | None  # from acceptance to the first piece; None: it ended before
    total_s: float


# --- the engine, as those who use it see it ---------------------------------------------------------------------------


OnProgress = Callable[[float], None]
"""Called while a model is loaded, with the share of its tensors that is there, 0 to 1."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """A loaded engine: what it serves and what it has room for."""

    model_type: str
    device: str
    dtype: str
    vocab_size: int
    max_model_len: int  # tokens, prompt and answer together
    block_size: int  # tokens in a KV block
    num_blocks: int
    kv_cache_bytes: int


@dataclass(frozen=True, slots=True)
class EngineStats:
    """An engine at the end of its last step; what is counted begins anew with each engine."""

    num_running: int = 0  # sequences
    num_waiting: int = 0
    num_used_blocks: int = 0  # KV blocks that sequences hold
    num_idle_blocks: int = 0  # that hold what may be asked for again
    num_preemptions: int = 0  # counted
    num_encoded_crops: int = 0  # counted

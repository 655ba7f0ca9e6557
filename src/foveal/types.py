"""The records that cross folders, one for each boundary, in the order in which a request meets them.

    wire JSON -> ChatRequest | CompletionRequest -> Image -> Prompt -> Token -> Delta -> wire bytes

The server (which has no torch), the image workers and the engine use the same records. So nothing here imports a
framework, and properties only combine fields. Sizes are in pixels and offsets in tokens, unless a comment says more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal, NamedTuple

Role = Literal["system", "user", "assistant", "tool"]
Detail = Literal["auto", "low", "high"] | int  # a number: of tokens at most, where a model's images have a budget
FinishReason = Literal["stop", "length", "tool_calls"]
Status = Literal["finished", "failed", "aborted"]


# --- what the client asked -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent the request, and the id of the request in the log and in the ledger."""

    request_id: str = ""
    key_id: str = ""  # "": the server asks for no keys
    account: str = "default"  # its callers share caches; other accounts cannot observe them

    @property
    def share(self) -> str:
        """Who has turns of its own where callers wait: an account, a key without one, or, without keys, a request."""
        if self.account != Caller().account:
            return f"account {self.account}"
        return f"key {self.key_id}" if self.key_id else f"request {self.request_id}"


class Page(NamedTuple):
    """A page of a PDF as a picture."""

    number: int  # from 1
    dpi: float
    max_pixels: int  # a larger page is drawn at a lower resolution


@dataclass(frozen=True, slots=True)
class File:
    """What a client says of a file: a PDF, whose pages become images, or text."""

    name: str = ""
    pages: tuple[int, int] | None = None  # the first and the last that are wanted, from 1; None: all


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Where an image is, as the request names it: a URL, a data URL or bare base64. Or its bytes, if those are known.

    With `file` it stands for a file, until the file is read: then other parts stand in its place.
    """

    source: str | bytes = field(repr=False)
    position: int  # among the request's images, from 1; error messages contain it
    detail: Detail = "auto"
    page: Page | None = None  # the image is this page of the PDF at `source`
    file: File | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat. Content is in the client's order: a str is text, an ImageRef stands for an image.

    A message of a tool is the result of one call.
    """

    role: Role
    content: tuple[str | ImageRef, ...]
    name: str | None = None  # of the speaker, which no chat template here uses, or of the tool that was called
    tool_calls: tuple[ToolCall, ...] = ()  # of an assistant's, behind its content
    tool_call_id: str | None = None  # of a tool's: the call that it answers
    reasoning: str = ""  # of an assistant's, before its content


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the client runs where the model calls it."""

    name: str
    description: str = ""
    parameters: str = "{}"  # JSON schema of the arguments, as text
    is_strict: bool = False  # a schema that cannot be enforced in every point is refused


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Which tools the model may call, and whether it has to. It is shown all of them."""

    mode: Literal["auto", "none", "required"] = "auto"
    names: tuple[str, ...] = ()  # only these; (): any
    parallel: bool = True  # an answer may have several calls


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool, made by the model."""

    id: str
    name: str
    arguments: str  # JSON text


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the client wants of a model that thinks before it answers. None: what the model does by itself."""

    enabled: bool | None = None
    effort: str | None = None  # low, medium, high, as the model's template knows it
    max_tokens: int | None = None  # of reasoning, then the answer begins


@dataclass(frozen=True, slots=True)
class Grammar:
    """The format that an answer must have, as the client sent it, or composed of what the client sent."""

    kind: Literal["json_schema", "grammar", "arguments", "composed"]
    """A JSON schema; GBNF or llguidance's Lark; the JSON schema of a tool's arguments; Lark of our own."""
    text: str
    parts: tuple[Grammar, ...] = ()  # of a composed one, whose text names them @part0, @part1, ...
    closings: tuple[str, ...] = ()  # of a composed one: texts that end a free text
    source: str = "This response_format"  # what it was made from, for messages about it
    is_strict: bool = True  # what cannot be enforced is refused; otherwise left out


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
    num_prompt_logprobs: int = 0  # of how many of the prompt's last tokens
    grammar: str | None = None  # of the output, as `engine.grammar.translate` returns it


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """What both kinds of request may set for the answer, parsed and completed with the model's defaults."""

    sampling: SamplingParams = SamplingParams()
    max_tokens: int | None = None  # None: as many as fit, up to the server's default
    stop: tuple[str, ...] = ()
    grammar: Grammar | None = None
    num_choices: int = 1
    when_too_long: Literal["truncate", "error"] = "truncate"  # context_length_exceeded_behavior
    echo: bool = False  # each answer begins with the prompt
    echo_last: int = 0  # or with this many of its last tokens
    max_prompt_tokens: int | None = None  # a chat's oldest messages are removed until its prompt fits
    cache_salt: bytes = b""  # of the prompt
    max_cached_tokens: int | None = None  # of the prompt; 0: nothing is shared with any other request
    return_token_ids: bool = False  # the client is told the ids of the prompt's and the answer's tokens
    raw_output: bool = False  # or all that the model saw and said


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat completion: the server formats the prompt."""

    messages: tuple[Message, ...]
    options: GenerationOptions = GenerationOptions()
    caller: Caller = Caller()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    reasoning: Reasoning = Reasoning()
    template_options: Mapping[str, object] = field(default_factory=dict)  # variables of the model's own template
    warnings: tuple[str, ...] = ()  # what the client should know, as its dialect says
    continues: bool = False  # the answer goes on from the text of the last message, which is the assistant's

    @property
    def image_refs(self) -> tuple[ImageRef, ...]:
        return tuple(part for message in self.messages for part in message.content if isinstance(part, ImageRef))

    @property
    def file_refs(self) -> tuple[ImageRef, ...]:
        """Files that are not read yet. Their positions are those among the files, from 1."""
        files = (ref for ref in self.image_refs if ref.file is not None)
        return tuple(replace(ref, position=position) for position, ref in enumerate(files, 1))

    @property
    def texts(self) -> tuple[str, ...]:
        """All that may be long and reaches the prompt."""
        said = [part for message in self.messages for part in message.content if isinstance(part, str)]
        thought = [message.reasoning for message in self.messages if message.reasoning]
        called = [call.arguments for message in self.messages for call in message.tool_calls]
        told = [text for tool in self.tools for text in (tool.description, tool.parameters)]
        return (*said, *thought, *called, *told)


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A completion: the prompt is taken as it is, with one `<image>` mark for each image."""

    prompt: str | tuple[int, ...]
    image_refs: tuple[ImageRef, ...] = ()
    options: GenerationOptions = GenerationOptions()
    safe_tokenization: bool = False  # special tokens in the prompt are read as text
    caller: Caller = Caller()  # requests with one request id are counted as one

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.prompt,) if isinstance(self.prompt, str) else ()


# --- images -----------------------------------------------------------------------------------------------------------


class Size(NamedTuple):
    """Pixels of an image after its EXIF orientation is applied."""

    width: int
    height: int


class CropGrid(NamedTuple):
    """The crops, or the blocks of pixels a token stands for, as a grid over the image. The whole is not among them.

    The box is in pixels of the upright image. It reaches beyond the image where a family pads, and is smaller where a
    family cuts.
    """

    rows: int
    columns: int
    left: float
    top: float
    right: float
    bottom: float

    @staticmethod
    def over(size: Size, rows: int, columns: int) -> CropGrid:
        """A grid into which the whole image is squeezed."""
        return CropGrid(rows, columns, 0, 0, size.width, size.height)

    @staticmethod
    def around(size: Size, fitted: Size, rows: int, columns: int, crop: int, corner: tuple[int, int]) -> CropGrid:
        """A canvas of square crops, in pixels, with the image scaled to `fitted` and its upper left at `corner`."""
        (left, top), scale_x, scale_y = corner, size.width / fitted.width, size.height / fitted.height
        right, bottom = columns * crop - left, rows * crop - top
        return CropGrid(rows, columns, -left * scale_x, -top * scale_y, right * scale_x, bottom * scale_y)


@dataclass(frozen=True, slots=True)
class ImageLayout:
    """How a family cuts an image of a size. `Processor.layout` alone decides it."""

    size: Size  # of the decoded image
    pixel_shape: tuple[int, ...]  # of the uint8 array that `Processor.prepare` returns
    grid: tuple[int, ...]  # the family's own numbers (crop rows and columns; patches; tiles)
    num_crops: int  # the unit of encoder work
    num_tokens: int  # image tokens: those in the prompt, or the states that cross-attention reads
    crops: CropGrid | None = None  # for people to see; None: the family does not tell
    facts: bytes = field(default=b"", repr=False)  # what else a family's engine side must know of an image of the size


@dataclass(frozen=True, slots=True)
class PixelRef:
    """Where prepared pixels lie in the pixel arena: uint8, C order."""

    offset: int  # bytes
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is ready for the engine. The pixels stay in place while its loader's context is open."""

    hash: bytes  # SHA-256 over the fetched bytes, the detail and the processor's settings: the key of every cache
    pixels: PixelRef
    layout: ImageLayout


# --- the prompt -------------------------------------------------------------------------------------------------------


class ImageSpan(NamedTuple):
    """A half-open range [offset, offset + length) of token positions that image features fill."""

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
    num_prompt_tokens: int = 0  # with separators; 1 where cross-attention reads the image


@dataclass(frozen=True, slots=True)
class Prompt:
    """The token ids and images that the engine continues. Invariant: every span lies inside token_ids."""

    token_ids: tuple[int, ...]
    images: tuple[PromptImage, ...] = ()
    cache_salt: bytes = b""  # prompts with different salts share no cached state
    max_cached_tokens: int | None = None  # tokens that may come from the prefix cache; None: all
    share: str = ""  # whose turn it takes, where sequences wait (Caller.share)

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
    """The logprob of a token of a prompt. None for the first token and for those of images: they are not predicted."""

    logprob: float | None
    top: tuple[TopLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token. The last one of a sequence, and only it, carries a finish_reason."""

    token_id: int
    finish_reason: FinishReason | None = None
    logprob: float | None = None
    top_logprobs: tuple[TopLogprob, ...] = ()
    num_cached_tokens: int = 0  # prompt tokens from the prefix cache; the same in every token of a sequence
    mirostat_mu: float | None = None  # Mirostat's bound for the next draw, also in another engine
    prompt_logprobs: tuple[PromptLogprob, ...] = ()  # in a sequence's first token, if requested


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's logprob with its text, as the wire formats want it."""

    token_id: int | None  # None: another server made it, and does not tell
    text: str
    bytes: bytes
    logprob: float | None  # None: the token was not predicted
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Echo:
    """The part of the prompt that an answer begins with, and its tokens if their logprobs were requested."""

    text: str
    tokens: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A part of a tool call. The first of a call has its id and name, the last is_last unless the answer was cut."""

    index: int  # among the calls of the choice, from 0
    id: str = ""
    name: str = ""
    arguments: str = ""  # what the JSON text of the arguments goes on with
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """A part of a choice's text that is final, the logprobs of its tokens, and in the last delta the finish reason.

    Its token ids are all those generated since the last delta, also those whose text is held back or never shown.
    Within a delta reasoning comes first, then text, then tool calls.
    """

    index: int
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    token_ids: tuple[int, ...] = ()
    echo: Echo | None = None  # the text begins with it
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    stop: str | None = None  # the stop text that ended it


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one request, the same numbers streamed or not."""

    prompt_tokens: int
    image_tokens: int  # may be more than the images' tokens in the prompt (cross-attention)
    text_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0  # of the completion's

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @classmethod
    def of_all(cls, usages: Sequence[Usage]) -> Usage:
        """The sums over several prompts; zeros for none."""
        return cls(**{count.name: sum(getattr(usage, count.name) for usage in usages) for count in fields(cls)})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer ended, its tokens and its times."""

    usage: Usage
    status: Status
    first_token_s: float | None  # from acceptance to the first delta; None: it ended before one
    total_s: float


# --- the engine, as its clients see it --------------------------------------------------------------------------------


OnProgress = Callable[[float], None]
"""Called while a model is loaded, with the share of its tensors that is loaded, 0 to 1."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """A loaded engine: its model and its sizes."""

    model_type: str
    device: str
    dtype: str
    vocab_size: int
    max_model_len: int  # tokens, prompt and answer together
    block_size: int  # tokens in a KV block
    num_blocks: int
    kv_cache_bytes: int
    weights: str = ""  # their format in the files, and how they are served


@dataclass(frozen=True, slots=True)
class EngineStats:
    """An engine at the end of its last step. Counters start at zero when the engine is restarted."""

    num_running: int = 0  # sequences
    num_waiting: int = 0
    num_used_blocks: int = 0  # KV blocks of running sequences
    num_idle_blocks: int = 0  # of no sequence, but cached
    num_preemptions: int = 0  # counter
    num_encoded_crops: int = 0  # counter

"""One request, from the messages to the text, with an engine that answers from a script."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal

import pytest

from foveal.accounting.accounting import Accounting
from foveal.config import LimitConfig
from foveal.conversation.config import load_conversation
from foveal.conversation.render import Renderer
from foveal.engine_client.client import Tokens
from foveal.errors import (
    Draining,
    FileError,
    GenerationFailed,
    ImageError,
    InvalidRequest,
    Overloaded,
    PromptTooLong,
    TooManyRequests,
)
from foveal.media.stats import ImageStats
from foveal.serving.pipeline import ModelCard, Pipeline
from foveal.serving.sampling import MAX_PROMPT_LOGPROBS, fit_to_context, num_prompt_logprobs
from foveal.types import (
    Caller,
    ChatRequest,
    CompletionRequest,
    Delta,
    EngineInfo,
    EngineStats,
    File,
    GenerationOptions,
    Grammar,
    Image,
    ImageRef,
    Message,
    Page,
    Prompt,
    SamplingParams,
    Token,
    Usage,
)
from tests.conversation.builders import IMAGE, chat, images, processor, tokenizer

CONTEXT_LENGTH = 100


@dataclass(frozen=True)
class Given:
    """Tokens of a script; `num_unread` more were made."""

    tokens: AsyncIterator[Token]
    num_unread: int
    queue_s: float | None = None

    def __aiter__(self) -> AsyncIterator[Token]:
        return self.tokens


class ScriptedEngine:
    """Answers each submission with the tokens of `script(seed)`; remembers what is running."""

    def __init__(self, script: Callable[[int], list[Token]], fails_after: int | None = None) -> None:
        self.script = script
        self.fails_after = fails_after
        self.running = 0
        self.given = 0
        self.unread = 0
        self.prompts: list[Prompt] = []
        self.sampling: list[SamplingParams] = []

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("phi3_v", "cpu", "float32", 600, CONTEXT_LENGTH, 16, 8, 1024)

    @property
    def stats(self) -> EngineStats:
        return EngineStats(num_running=self.running)

    @property
    def num_tokens(self) -> int:
        return self.given

    @property
    def is_ready(self) -> bool:
        return True

    @property
    def num_restarts(self) -> int:
        return 0

    @asynccontextmanager
    async def submit(self, prompt: Prompt, sampling: SamplingParams) -> AsyncIterator[Tokens]:
        self.prompts.append(prompt)
        self.sampling.append(sampling)
        self.running += 1
        try:
            yield Given(self._tokens(self.script(sampling.seed)), self.unread)
        finally:
            self.running -= 1

    async def _tokens(self, tokens: list[Token]) -> AsyncIterator[Token]:
        for number, token in enumerate(tokens):
            await asyncio.sleep(0)
            if number == self.fails_after:
                raise GenerationFailed("the engine gave up on this request")
            self.given += 1
            yield token

    async def close(self) -> None: ...


class ReadyImages:
    """Images that are there already; remembers how many are pinned."""

    def __init__(self) -> None:
        self.stats = ImageStats()
        self.pinned = 0
        self.num_loaded = 0

    @asynccontextmanager
    async def load(self, refs: Sequence[ImageRef], caller: Caller, salt: bytes) -> AsyncIterator[tuple[Image, ...]]:
        if any(ref.source == "broken" for ref in refs):
            raise ImageError(1, "not a picture")
        self.pinned += len(refs)
        self.num_loaded += len(refs)
        try:
            yield tuple(images(len(refs)))
        finally:
            self.pinned -= len(refs)

    async def read_file(self, ref: ImageRef, caller: Caller, salt: bytes) -> list[str | ImageRef]:
        if ref.source == "broken":
            raise FileError(ref.position, "not a file")
        return [*(ImageRef(b"", ref.position, page=Page(number, 72, 100)) for number in (1, 2)), "text"]


class EasyGrammars:
    """Takes every grammar but one that is called "bad"."""

    async def translate(self, grammar: Grammar) -> str:
        if grammar.text == "bad":
            raise InvalidRequest("no such grammar")
        return f"translated {grammar.text}"


def says(text: str) -> list[Token]:
    """The tokens of a text, one for each byte, and the one that ends it."""
    names = tokenizer()
    ids = {names.token_bytes(token_id): token_id for token_id in range(names.vocab_size)}
    tokens = [Token(ids[bytes([byte])], num_cached_tokens=7) for byte in text.encode()]
    return [*tokens, Token(ids[b"<|end|>"], "stop", num_cached_tokens=7)]


def pipeline(
    engine: ScriptedEngine, loader: ReadyImages | None = None, accounting: Accounting | None = None
) -> Pipeline:
    renderer = Renderer(load_conversation("phi3_v"), tokenizer(), processor())
    card = ModelCard("m", 0, 4096, tokenizer().vocab_size, True, SamplingParams())
    served = Pipeline(card, loader or ReadyImages(), renderer, tokenizer(), EasyGrammars(), accounting or Accounting())
    served.attach(engine)
    return served


async def collect(served: Pipeline, request: ChatRequest | CompletionRequest) -> tuple[list[Delta], Usage]:
    async with served.answer(request) as answer:
        deltas = [delta async for delta in answer.deltas()]
        return deltas, answer.usage


def text_of(deltas: list[Delta], index: int = 0) -> str:
    return "".join(delta.text for delta in deltas if delta.index == index)


def test_an_answer_is_the_engines_tokens_as_text_and_ends_once() -> None:
    engine = ScriptedEngine(lambda seed: says("It is red."))
    deltas, usage = asyncio.run(collect(pipeline(engine), chat(("user", ["What colour?", IMAGE]))))
    assert text_of(deltas) == "It is red."
    assert [delta.finish_reason for delta in deltas if delta.finish_reason] == ["stop"]
    num_tokens = len(engine.prompts[0].token_ids)
    assert usage == Usage(num_tokens, 6, num_tokens - 6, 7, len("It is red.") + 1)


def test_the_images_are_pinned_while_the_answer_runs_and_no_longer() -> None:
    loader, engine = ReadyImages(), ScriptedEngine(lambda seed: says("yes"))

    async def leave_early() -> tuple[int, int]:
        async with pipeline(engine, loader).answer(chat(("user", [IMAGE, IMAGE, "same?"]))) as answer:
            await anext(answer.deltas())
            return loader.pinned, engine.running

    assert asyncio.run(leave_early()) == (2, 1)
    assert (loader.pinned, engine.running) == (0, 0)


def user(*parts: str | ImageRef) -> ChatRequest:
    return ChatRequest((Message("user", parts),))


def test_the_text_and_the_pages_of_a_file_stand_in_its_place() -> None:
    loader, engine = ReadyImages(), ScriptedEngine(lambda seed: says("yes"))
    with_file = user("a", ImageRef("file", 1, file=File()), "b")
    written_out = user("a", ImageRef("", 1), ImageRef("", 2), "text", "b")
    asyncio.run(collect(pipeline(engine, loader), with_file))
    asyncio.run(collect(pipeline(engine), written_out))
    assert loader.num_loaded == 2
    assert engine.prompts[0].token_ids == engine.prompts[1].token_ids


def test_a_file_that_cannot_be_read_is_named_by_its_place_among_the_files() -> None:
    asked = user(ImageRef("", 1), ImageRef("file", 2, file=File()), ImageRef("broken", 3, file=File()))
    with pytest.raises(FileError, match="file 2: not a file"):
        asyncio.run(collect(pipeline(ScriptedEngine(lambda seed: [])), asked))


def test_a_stop_text_ends_the_answer_and_the_engines_work_on_it() -> None:
    engine = ScriptedEngine(lambda seed: says("red, or so I think"))
    request = replace(chat(("user", "colour?")), options=GenerationOptions(stop=(", or",)))

    async def finish() -> tuple[list[Delta], int]:
        async with pipeline(engine).answer(request) as answer:
            deltas = [delta async for delta in answer.deltas()]
            return deltas, engine.running

    deltas, running = asyncio.run(finish())
    assert text_of(deltas) == "red"
    assert deltas[-1].finish_reason == "stop"
    assert running == 0
    assert engine.given == len("red, or")


def test_choices_are_told_apart_and_drawn_with_seeds_of_their_own() -> None:
    engine = ScriptedEngine(lambda seed: says(f"answer {seed}"))
    options = GenerationOptions(SamplingParams(seed=5), num_choices=3)
    request = replace(chat(("user", "hi")), options=options)
    deltas, usage = asyncio.run(collect(pipeline(engine), request))
    assert [text_of(deltas, index) for index in range(3)] == ["answer 5", "answer 6", "answer 7"]
    assert sorted(delta.index for delta in deltas if delta.finish_reason) == [0, 1, 2]
    assert usage.completion_tokens == 3 * (len("answer 5") + 1)


def test_an_answer_that_has_all_its_tokens_at_once_lets_others_have_their_turn() -> None:
    class Burst(ScriptedEngine):
        async def _tokens(self, tokens: list[Token]) -> AsyncIterator[Token]:
            for token in tokens:
                yield token

    async def num_turns() -> int:
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(take_turns())
        request = replace(chat(("user", "hi")), options=GenerationOptions(max_tokens=40))
        async with pipeline(Burst(lambda seed: says("x" * 1000))).answer(request) as answer:
            turns = 0
            async for _ in answer.deltas():
                pass
        other.cancel()
        return turns

    assert 10 < asyncio.run(num_turns()) < 20


@pytest.mark.parametrize(
    ("request_", "options", "expected"),
    [
        (CompletionRequest("a <image>", (ImageRef("x", 1),)), {"echo": True}, "a <image>"),
        (CompletionRequest((5, 6, 7)), {"echo": True}, tokenizer().decode((5, 6, 7))),
        (CompletionRequest("the shape"), {"echo_last": 1}, " shape"),
        (CompletionRequest("the shape"), {"echo": True, "echo_last": 99}, "the shape"),
        (chat(("user", ["a ", IMAGE])), {"echo": True}, "<|user|>\na <image>\n<|end|>\n<|assistant|>\n"),
    ],
)
def test_an_echo_stands_once_before_each_choice(
    request_: ChatRequest | CompletionRequest, options: dict[str, int], expected: str
) -> None:
    engine = ScriptedEngine(lambda seed: says("yes"))
    request = replace(request_, options=GenerationOptions(num_choices=2, **options))  # type: ignore[arg-type]  # a table of fields
    deltas, _ = asyncio.run(collect(pipeline(engine), request))
    assert [text_of(deltas, index) for index in (0, 1)] == [expected + "yes"] * 2


def test_every_token_is_told_by_its_id_shown_or_not() -> None:
    tokens = says("red, or so")
    engine = ScriptedEngine(lambda seed: tokens)
    request = replace(chat(("user", "colour?")), options=GenerationOptions(stop=(", or",)))
    deltas, _ = asyncio.run(collect(pipeline(engine), request))
    told = [token_id for delta in deltas for token_id in delta.token_ids]
    assert told == [token.token_id for token in tokens[: len("red, or")]]


def test_turns_that_are_left_out_are_neither_in_the_prompt_nor_in_its_fragments() -> None:
    engine = ScriptedEngine(lambda seed: says("yes"))
    long = chat(("user", [IMAGE, "first"]), ("assistant", "A"), ("user", "second"))

    async def fragments() -> list[str | int]:
        request = replace(long, options=GenerationOptions(max_prompt_tokens=25))
        async with pipeline(engine).answer(request) as answer:
            return answer.prompt_fragments()

    assert "first" not in asyncio.run(fragments())
    assert len(engine.prompts[0].token_ids) <= 25
    assert engine.prompts[0].images == ()


def test_a_failure_of_the_engine_reaches_the_reader_and_frees_everything() -> None:
    loader, engine = ReadyImages(), ScriptedEngine(lambda seed: says("never said in full"), fails_after=3)
    with pytest.raises(GenerationFailed):
        asyncio.run(collect(pipeline(engine, loader), chat(("user", [IMAGE, "hi"]))))
    assert (loader.pinned, engine.running) == (0, 0)


def test_a_pipeline_without_an_engine_is_overloaded() -> None:
    served = pipeline(ScriptedEngine(lambda seed: []))
    served.check_ready()
    assert served.card.context_length == CONTEXT_LENGTH
    served.engine = None
    with pytest.raises(Overloaded, match="still loading"):
        served.check_ready()
    with pytest.raises(Overloaded, match="still loading"):
        asyncio.run(collect(served, chat(("user", "hi"))))


def test_a_pipeline_that_drains_lets_answers_end_and_takes_no_more() -> None:
    async def scene() -> Sequence[str | None]:
        served = pipeline(ScriptedEngine(lambda seed: says("to the end")))
        async with served.answer(chat(("user", "hi"))) as answer:
            deltas = answer.deltas()
            await anext(deltas)
            draining = asyncio.create_task(served.in_flight.drain(timeout_s=60))
            await asyncio.sleep(0)
            with pytest.raises(Draining):
                await collect(served, chat(("user", "me too")))
            reasons = [delta.finish_reason async for delta in deltas]
            assert not draining.done()
        await draining
        return reasons

    assert asyncio.run(scene())[-1] == "stop"


def test_draining_ends_when_its_time_is_over() -> None:
    async def scene() -> None:
        served = pipeline(ScriptedEngine(lambda seed: says("never ends")))
        async with served.answer(chat(("user", "hi"))):
            await served.in_flight.drain(timeout_s=0.01)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (GenerationOptions(SamplingParams(num_logprobs=1), echo=True), 10),
        (GenerationOptions(SamplingParams(num_logprobs=0), echo=True), 10),
        (GenerationOptions(SamplingParams(num_logprobs=1), echo_last=3), 3),
        (GenerationOptions(SamplingParams(num_logprobs=1), echo_last=99), 10),
        (GenerationOptions(SamplingParams(num_logprobs=1)), 0),
        (GenerationOptions(SamplingParams(), echo=True), 0),
    ],
)
def test_logprobs_of_the_prompt_are_those_of_the_echo(options: GenerationOptions, expected: int) -> None:
    assert num_prompt_logprobs(options, 10) == expected


def test_more_logprobs_of_a_prompt_than_one_answer_should_carry_are_refused() -> None:
    options = GenerationOptions(SamplingParams(num_logprobs=1), echo=True)
    assert num_prompt_logprobs(options, MAX_PROMPT_LOGPROBS) == MAX_PROMPT_LOGPROBS
    with pytest.raises(InvalidRequest, match="set echo_last to fewer"):
        num_prompt_logprobs(options, MAX_PROMPT_LOGPROBS + 1)
    assert num_prompt_logprobs(replace(options, echo_last=5), MAX_PROMPT_LOGPROBS + 1) == 5


# --- accounting -------------------------------------------------------------------------------------------------------


def test_what_an_answer_took_is_counted_when_it_has_ended() -> None:
    accounting = Accounting()
    served = pipeline(ScriptedEngine(lambda seed: says("yes")), accounting=accounting)
    _, usage = asyncio.run(collect(served, chat(("user", "hi"))))
    totals = accounting.totals
    assert totals.by_status == {"finished": 1}
    assert (totals.prompt_tokens, totals.completion_tokens) == (usage.prompt_tokens, usage.completion_tokens)
    assert usage.completion_tokens == len("yes") + 1


def test_an_answer_that_is_left_is_aborted_and_counts_what_it_gave() -> None:
    accounting = Accounting()
    served = pipeline(ScriptedEngine(lambda seed: says("a long answer")), accounting=accounting)

    async def leave() -> None:
        async with served.answer(chat(("user", "hi"))) as answer:
            deltas = answer.deltas()
            for _ in range(3):
                await anext(deltas)

    asyncio.run(leave())
    assert accounting.totals.by_status == {"aborted": 1}
    assert accounting.totals.completion_tokens == 3


def test_an_answer_that_is_left_counts_what_was_made_and_not_taken() -> None:
    accounting = Accounting()
    engine = ScriptedEngine(lambda seed: says("a long answer"))
    engine.unread = 7
    served = pipeline(engine, accounting=accounting)

    async def leave() -> None:
        async with served.answer(chat(("user", "hi"))) as answer:
            await anext(answer.deltas())

    asyncio.run(leave())
    assert accounting.totals.completion_tokens == 8


def test_what_was_made_after_a_stop_text_does_not_count() -> None:
    accounting = Accounting()
    engine = ScriptedEngine(lambda seed: says("yes and no"))
    engine.unread = 7
    request = replace(chat(("user", "hi")), options=GenerationOptions(stop=(" and",)))
    _, usage = asyncio.run(collect(pipeline(engine, accounting=accounting), request))
    assert accounting.totals.completion_tokens == usage.completion_tokens


def test_an_answer_that_breaks_off_has_failed() -> None:
    accounting = Accounting()
    served = pipeline(ScriptedEngine(lambda seed: says("never said"), fails_after=3), accounting=accounting)
    with pytest.raises(GenerationFailed):
        asyncio.run(collect(served, chat(("user", "hi"))))
    assert accounting.totals.by_status == {"failed": 1}


def test_the_limit_of_requests_is_checked_before_any_image_is_loaded() -> None:
    loader = ReadyImages()
    accounting = Accounting(LimitConfig(requests_per_minute=1))
    served = pipeline(ScriptedEngine(lambda seed: says("yes")), loader, accounting)
    asyncio.run(collect(served, chat(("user", [IMAGE, "What?"]))))
    loader.num_loaded = 0
    with pytest.raises(TooManyRequests):
        asyncio.run(collect(served, chat(("user", [IMAGE, "What?"]))))
    with pytest.raises(TooManyRequests):
        asyncio.run(served.measure([chat(("user", [IMAGE, "What?"]))]))
    assert loader.num_loaded == 0


def test_limits_of_tokens_are_checked_before_the_engine_is_asked() -> None:
    engine = ScriptedEngine(lambda seed: says("yes"))
    served = pipeline(engine, accounting=Accounting(LimitConfig(generated_tokens_per_minute=20)))
    two_choices = replace(chat(("user", "hi")), options=GenerationOptions(max_tokens=11, num_choices=2))
    with pytest.raises(InvalidRequest, match="up to 22 generated tokens, and the limit is 20"):
        asyncio.run(collect(served, two_choices))
    assert engine.prompts == []


def test_accounts_share_nothing_whatever_isolation_keys_they_choose() -> None:
    def salt(account: str, isolation: bytes = b"") -> bytes:
        engine = ScriptedEngine(lambda seed: says("yes"))
        request = replace(chat(("user", "hi")), caller=Caller("r", "k", account))
        asyncio.run(collect(pipeline(engine), replace(request, options=GenerationOptions(cache_salt=isolation))))
        return engine.prompts[0].cache_salt

    assert salt("default") == b""
    assert salt("default", b"x") == b"x"
    assert salt("a") == salt("a")
    assert len({salt("default"), salt("a"), salt("b"), salt("a", b"x"), salt("b", b"x")}) == 5


def test_what_cannot_be_answered_is_refused_before_the_engine_is_asked() -> None:
    engine = ScriptedEngine(lambda seed: says("no"))
    served = pipeline(engine)
    broken = CompletionRequest("<image>", (ImageRef("broken", 1),))
    for request in (broken, CompletionRequest("<image>"), ChatRequest(()), CompletionRequest("x" * 500)):
        with pytest.raises(InvalidRequest):
            asyncio.run(collect(served, request))
    assert engine.prompts == []


def test_a_measurement_is_of_the_prompt_that_an_answer_would_have_and_runs_nothing() -> None:
    loader, engine = ReadyImages(), ScriptedEngine(lambda seed: says("yes"))
    served, request = pipeline(engine, loader), chat(("user", [IMAGE, "What?"]))

    (measurement,) = asyncio.run(served.measure([request]))
    assert (loader.pinned, engine.prompts) == (0, [])

    _, usage = asyncio.run(collect(served, request))
    assert measurement.prompt == engine.prompts[0]
    assert measurement.max_tokens == CONTEXT_LENGTH - usage.prompt_tokens


def test_a_prompt_carries_what_its_request_says_of_caching() -> None:
    engine = ScriptedEngine(lambda seed: says("yes"))
    options = GenerationOptions(cache_salt=b"me", max_cached_tokens=32)
    asyncio.run(collect(pipeline(engine), replace(chat(("user", "hi")), options=options)))
    assert (engine.prompts[0].cache_salt, engine.prompts[0].max_cached_tokens) == (b"me", 32)


def test_a_grammar_is_tried_out_before_images_are_loaded_and_goes_to_the_engine_translated() -> None:
    engine = ScriptedEngine(lambda seed: says("yes"))
    served = pipeline(engine)
    good = replace(chat(("user", "hi")), options=GenerationOptions(grammar=Grammar("json_schema", "{}")))
    bad = CompletionRequest("<image>", (ImageRef("broken", 1),), GenerationOptions(grammar=Grammar("grammar", "bad")))
    asyncio.run(collect(served, good))
    with pytest.raises(InvalidRequest, match="no such grammar"):
        asyncio.run(collect(served, bad))
    assert [sampling.grammar for sampling in engine.sampling] == ["translated {}"]


def test_who_shares_nothing_gets_a_salt_of_its_own_each_time() -> None:
    engine = ScriptedEngine(lambda seed: says("yes"))
    request = replace(chat(("user", "hi")), options=GenerationOptions(max_cached_tokens=0, num_choices=2))
    for _ in range(2):
        asyncio.run(collect(pipeline(engine), request))
    assert [len({prompt.cache_salt for prompt in engine.prompts[i : i + 2]}) for i in (0, 1)] == [1, 2]


@pytest.mark.parametrize(
    ("max_tokens", "when_too_long", "expected"),
    [(None, "truncate", 40), (None, "error", 40), (10, "error", 10), (40, "error", 40), (41, "truncate", 40)],
)
def test_max_tokens_is_cut_to_the_room_that_is_left(
    max_tokens: int | None, when_too_long: Literal["truncate", "error"], expected: int
) -> None:
    options = GenerationOptions(max_tokens=max_tokens, when_too_long=when_too_long)
    assert fit_to_context(options, 60, 100).max_tokens == expected


def test_too_long_is_an_error_where_the_client_wants_one_or_nothing_fits() -> None:
    with pytest.raises(PromptTooLong, match="60, model maximum context length: 100"):
        fit_to_context(GenerationOptions(max_tokens=41, when_too_long="error"), 60, 100)
    with pytest.raises(PromptTooLong):
        fit_to_context(GenerationOptions(max_tokens=1), 100, 100)

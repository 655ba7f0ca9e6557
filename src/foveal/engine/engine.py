"""The engine: sequences go in, tokens come out, a step at a time. Knows no thread, process or socket.

One step: schedule, run, receive new messages, update caches and sequences, emit. Every sequence that was added ends in
exactly one terminal event: a token with a finish_reason, a failure or an abort.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from collections.abc import Sequence as Seq
from typing import TYPE_CHECKING

from foveal.engine.grammar import GrammarError
from foveal.engine.guide import Guide, Guides, wait_for_any
from foveal.engine.protocol import Encoding, StepDone, Submit
from foveal.engine.sequence import Sequence
from foveal.types import Token

if TYPE_CHECKING:
    from foveal.engine.encoder import Encoder
    from foveal.engine.pace import Pace
    from foveal.engine.runner import Runner
    from foveal.engine.sampler import Draw
    from foveal.engine.scheduler import Scheduler, StepPlan

log = logging.getLogger(__name__)

IMAGE_FAILED = "An image of this request could not be processed by the model."
COMPUTATION_FAILED = "The model could not continue this prompt."
GRAMMAR_FAILED = "The answer could not be held to its format any further: make the format simpler."
TOO_LARGE = "The request outgrew the KV cache: shorten the prompt or lower max_tokens."


def _nothing(*_: object) -> None:
    pass


def _no() -> bool:
    return False


def _why(error: Exception) -> str:
    return GRAMMAR_FAILED if isinstance(error, GrammarError) else COMPUTATION_FAILED


class Engine:
    """A scheduler, an encoder and a runner that carry out its plans, and a pace that says how long each may take."""

    def __init__(
        self,
        scheduler: Scheduler,
        pace: Pace,
        encoder: Encoder,
        runner: Runner,
        max_model_len: int,
        guides: Guides | None = None,
    ) -> None:
        """`guides`: None where no request brings a grammar."""
        self.scheduler = scheduler
        self.pace = pace
        self.encoder = encoder
        self.runner = runner
        self.max_model_len = max_model_len
        self.guides = guides
        self._failed: list[tuple[int, str]] = []
        self._aborted: list[int] = []
        self._encoded: tuple[Encoding, ...] = ()  # in the current step

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to compute and no event to report."""
        return not (self.scheduler.sequences or self._failed or self._aborted)

    def add(self, request: Submit) -> None:
        """Accept a request; it can run from the next step on."""
        prompt, sampling = request.prompt, request.sampling
        max_total_tokens = min(len(prompt.token_ids) + sampling.max_tokens, self.max_model_len)
        try:
            positions = self.runner.model.decoder.positions(prompt, max_total_tokens)
            guide = self._guide(request, max_total_tokens - len(prompt.token_ids))
        except Exception as error:  # any failure of one request must end that request alone
            log.warning("one request failed in the engine", exc_info=error)
            self._failed.append((request.sequence_id, _why(error)))
            return
        self.scheduler.add(
            Sequence(
                sequence_id=request.sequence_id,
                prompt=prompt,
                sampling=sampling,
                positions=positions,
                max_total_tokens=max_total_tokens,
                token_ids=[*prompt.token_ids, *request.output_token_ids],
                num_cached_tokens=request.num_cached_tokens,
                mirostat_mu=request.mirostat_mu,
                guide=guide,
            )
        )

    def abort(self, sequence_id: int) -> None:
        """End a request whose client is gone. A request that has ended already is left as it is."""
        sequence = self.scheduler.sequences.get(sequence_id)
        if sequence:
            self._end(sequence)
            self._aborted.append(sequence_id)

    def step(
        self,
        on_start: Callable[[tuple[int, ...]], None] = _nothing,
        receive: Callable[[], None] = _nothing,
        has_news: Callable[[], bool] = _no,
    ) -> StepDone:
        """Compute one step.

        on_start: called with sequences before something is computed for them, so that they are known if it never ends.
        receive: calls `add` and `abort` for new messages. It is called after the step has read pixels and before its
        results are kept. An aborted request's pixels may be overwritten, so nothing made of them may be cached.
        has_news: whether `receive` has something to receive.
        """
        waiting = self._wait_for_masks()
        num_streams = self.scheduler.num_streams
        plan = self.scheduler.schedule(self.pace.num_prompt_tokens(num_streams, self.encoder.is_busy))
        self._failed += [(sequence.sequence_id, TOO_LARGE) for sequence in plan.too_large]
        self.runner.copy_states(plan.state_copies)
        self._encode(plan, on_start, has_news)
        draws = self._run(plan, waiting, on_start)
        receive()
        self.encoder.settle()
        self.scheduler.update(plan)
        return self._emit(draws)

    def check_integrity(self) -> None:
        """Raise IntegrityError unless blocks, pins and sequences agree."""
        self.scheduler.check_integrity()

    def _guide(self, request: Submit, max_tokens: int) -> Guide | None:
        """Raises GrammarError."""
        sampling = request.sampling
        if sampling.grammar is None:
            return None
        if self.guides is None:
            raise GrammarError("the tokenizer of this model cannot be used with grammars")
        return self.guides.start(sampling.grammar, sampling.stop_token_ids, max_tokens, request.output_token_ids)

    def _wait_for_masks(self) -> dict[int, Guide]:
        """Give new masks a moment, fail answers that cannot have one; returns those that still wait, by sequence."""
        guided = [(sequence, sequence.guide) for sequence in self.scheduler.sequences.values() if sequence.guide]
        waiting = {}
        for sequence, guide in guided:
            guide.wait()
            if error := guide.failure():
                log.warning("one answer cannot follow its grammar: %s", error)
                self._fail(sequence, _why(error))
            elif not guide.is_ready:
                waiting[sequence.sequence_id] = guide
        return waiting

    def _encode(
        self, plan: StepPlan, on_start: Callable[[tuple[int, ...]], None], has_news: Callable[[], bool]
    ) -> None:
        """The encoder's share of the step. Requests whose image fails, fail here."""
        turn = self.pace.encoder_turn(plan.num_streams, plan.num_prompt_tokens, has_news)
        owners: set[int] = set()

        def note(sequence_ids: tuple[int, ...]) -> None:
            owners.update(sequence_ids)
            on_start(sequence_ids)

        started_s = time.monotonic()
        failed = self.encoder.encode([*plan.wanted.values()], turn, note)
        self._encoded = tuple(Encoding(owner, started_s, time.monotonic()) for owner in owners)
        for key in failed:
            for sequence_id in self.scheduler.encoder_cache.pinned_by(key):
                self._fail(self.scheduler.sequences[sequence_id], IMAGE_FAILED)

    def _run(
        self, plan: StepPlan, waiting: dict[int, Guide], on_start: Callable[[tuple[int, ...]], None]
    ) -> list[tuple[Sequence, Draw]]:
        """Compute the plan's chunks; returns the tokens drawn. Requests fail here, before any result is stored."""
        chunks = [chunk for chunk in plan.chunks.values() if chunk.sequence.status == "running"]
        if chunks or waiting:
            on_start((*plan.chunks, *waiting))
        if waiting and not (chunks or plan.wanted):
            wait_for_any([*waiting.values()])
        if not chunks:
            return []
        with self.pace.timed(plan.num_streams, plan.num_prompt_tokens):
            results = self.runner.run(chunks)
        draws = []
        for chunk, computed in zip(chunks, results, strict=True):
            if isinstance(computed, Exception):
                self._fail(chunk.sequence, _why(computed))
                continue
            chunk.sequence.prompt_logprobs |= computed.prompt_logprobs
            if computed.draw:
                draws.append((chunk.sequence, computed.draw))
        return draws

    def _emit(self, draws: Seq[tuple[Sequence, Draw]]) -> StepDone:
        alive = ((sequence, draw) for sequence, draw in draws if sequence.status != "done")  # not aborted since
        tokens = tuple((sequence.sequence_id, self._take(sequence, draw)) for sequence, draw in alive)
        done = StepDone(tokens, tuple(self._failed), tuple(self._aborted), self.scheduler.stats, self._encoded)
        self._failed, self._aborted = [], []
        return done

    def _take(self, sequence: Sequence, draw: Draw) -> Token:
        prompt_logprobs = tuple(sequence.prompt_logprobs[position] for position in sequence.prompt_logprob_range)
        sequence.prompt_logprobs = {}
        finish_reason = sequence.append(draw.token_id)
        sequence.mirostat_mu = draw.mirostat_mu
        if finish_reason:
            self.scheduler.finish(sequence)
        elif sequence.guide:
            sequence.guide.advance(sequence.token_ids[sequence.num_prompt_tokens :])
        num_cached_tokens = sequence.num_cached_tokens or 0
        return Token(
            token_id=draw.token_id,
            finish_reason=finish_reason,
            logprob=draw.logprob,
            top_logprobs=draw.top_logprobs,
            num_cached_tokens=num_cached_tokens,
            mirostat_mu=draw.mirostat_mu,
            prompt_logprobs=prompt_logprobs,
        )

    def _fail(self, sequence: Sequence, why: str) -> None:
        self._end(sequence)
        self._failed.append((sequence.sequence_id, why))

    def _end(self, sequence: Sequence) -> None:
        """End a sequence before its last token."""
        self.scheduler.finish(sequence)
        if sequence.guide:
            sequence.guide.stop()

"""Two answers to one case, and what they say about each other."""

from __future__ import annotations

from dataclasses import dataclass

CLEAR = 0.1  # a lead of the likeliest token over the next, in nats, that both sides have to see


@dataclass(frozen=True, slots=True)
class Said:
    """A greedy answer. The lists have an entry for each of its tokens."""

    prompt: tuple[int, ...]  # token ids, image tokens included
    tokens: tuple[int, ...]
    logprobs: tuple[dict[int, float], ...]  # of the likeliest tokens, by id
    text: str
    num_image_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one case shows. Counts are of tokens."""

    case: str
    num_prompt: int
    num_their_prompt: int
    num_image: int
    num_answer: int
    num_equal: int  # of the answer, from its beginning
    lead: float | None  # of their likeliest token where the answers part; None: they do not
    difference: float | None  # the largest of a logprob, up to there; None: the prompts differ
    text: str
    their_text: str
    same_prompt: bool

    def agrees(self, tolerance: float) -> bool:
        """Equal prompts, logprobs within the tolerance, and greedy tokens equal wherever one is clearly likeliest."""
        if not self.same_prompt or self.difference is None:
            return False
        return self.difference <= tolerance and (self.lead is None or self.lead <= CLEAR)


def compare(case: str, ours: Said, theirs: Said) -> Finding:
    same_prompt = ours.prompt == theirs.prompt
    num_equal = _num_equal(ours.tokens, theirs.tokens)
    lead = difference = None
    if same_prompt:
        shared = range(min(num_equal + 1, len(ours.logprobs), len(theirs.logprobs)))  # the step of the parting, too
        difference = max((_difference(ours.logprobs[i], theirs.logprobs[i]) for i in shared), default=0.0)
        if num_equal < min(len(ours.tokens), len(theirs.tokens)):
            likeliest, second = sorted(theirs.logprobs[num_equal].values(), reverse=True)[:2]
            lead = likeliest - second
    return Finding(
        case=case,
        num_prompt=len(ours.prompt),
        num_their_prompt=len(theirs.prompt),
        num_image=ours.num_image_tokens,
        num_answer=len(theirs.tokens),
        num_equal=num_equal,
        lead=lead,
        difference=difference,
        text=ours.text,
        their_text=theirs.text,
        same_prompt=same_prompt,
    )


def _num_equal(ours: tuple[int, ...], theirs: tuple[int, ...]) -> int:
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(ours), len(theirs)))


def _difference(ours: dict[int, float], theirs: dict[int, float]) -> float:
    """The largest, of the tokens that both sides name."""
    return max((abs(ours[token] - theirs[token]) for token in ours.keys() & theirs.keys()), default=float("inf"))

"""The tokenizer, trained on the text of conversations, and the token ids of a conversation's prompt.

The prompt is that of Phi-3-vision's processor: the text is cut at each picture, and every part begins with `<s>`.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from training.charts import LABELS
from training.colours import COLOURS
from training.conversations import Conversation, Turn, converse, without_picture
from training.facts import NUMBERS, QUOTED
from training.marks import GIVEN, MARK, READ, is_compared, is_letter, next_letter, parts, unmarked
from training.model import IGNORE
from training.questions import FOREIGN_WORDS, KNOWN_WORDS
from training.scenes import SCENES
from training.shapes import KINDS

SPECIAL_TOKENS = ("<unk>", "<s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>", "<|image|>")
MIN_COUNT = 5
SPACE = "\u0120"  # as byte-level tokens write it
DIGIT = re.compile(r"\d")
# What has no space before it, since it follows a quote in JSON or is an answer of one word.
SIDES = ("left", "right", "above", "below")
QUOTED_WORDS = (*COLOURS, *KINDS, *SIDES, "top", "bottom")
SINGLE_WORDS = tuple(word.capitalize() for word in (*COLOURS, *KINDS, *SIDES, *NUMBERS[2:6]))
CHART_WORDS = {label for labels in LABELS for label in labels}
LOOKS = ("back", "asked", "said")  # kinds of attention targets, see looks.py
UNKNOWN, BOS, END_OF_TEXT, ASSISTANT, SYSTEM, END, USER, IMAGE = range(len(SPECIAL_TOKENS))


def train_tokenizer(vocab_size: int, seed: int, num_conversations: int = 2_500) -> Tokenizer:
    """Byte-level BPE without merges: the most frequent words of conversations are tokens, other words are spelled.

    So a text read from a picture is written letter by letter, which a small model can learn for any word.
    """
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    counts, spelled = Counter[str](), set(KNOWN_WORDS)
    for asked, said in _texts(random.Random(f"tokenizer/{seed}"), num_conversations):
        words_asked, words_said = ({word for word, _ in split.pre_tokenize_str(text)} for text in (asked, said))
        counts.update(words_asked | words_said)  # once a conversation: a chart's questions repeat its labels
        spelled |= {_bare(word) for word in words_said}
    common = [word for word, count in counts.items() if count >= MIN_COUNT and len(word) > 1 and word.isprintable()]
    known = [word for word in common if not DIGIT.search(word) and _bare(word) not in FOREIGN_WORDS]
    known = [word for word in known if not _bare(word).isalpha() or _bare(word) in spelled]  # questions are mistyped
    words = sorted(known, key=lambda word: (-counts[word], word))
    tokens = [*SPECIAL_TOKENS, *alphabet, *words][:vocab_size]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], ignore_merges=True))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.pre_tokenizer, tokenizer.decoder = split, decoders.ByteLevel()
    return tokenizer


def with_bare_words(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with QUOTED_WORDS and SINGLE_WORDS in place of its rarest words, those of charts aside."""
    vocabulary = tokenizer.get_vocab()
    known = sorted(vocabulary, key=lambda token: vocabulary[token])
    wanted = [word for word in (*QUOTED_WORDS, *SINGLE_WORDS) if word not in vocabulary]
    rarest = [word for word in reversed(known) if word.removeprefix(SPACE) not in CHART_WORDS][: len(wanted)]
    raw = json.loads(tokenizer.to_str())
    kept = [word for word in known if word not in rarest]
    raw["model"]["vocab"] = {token: number for number, token in enumerate([*kept, *wanted])}
    return Tokenizer.from_str(json.dumps(raw))


def load_or_train(
    path: Path, vocab_size: int, seed: int, begun: Path | None = None, bare_words: bool = False
) -> Tokenizer:
    """The tokenizer in the file, or else the one of the model folder `begun`, or else a new one.

    That of `begun` is used if it has the same size, so that every token keeps its meaning, except those that
    `bare_words` replaces.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        old = Tokenizer.from_file(str(begun / "tokenizer.json")) if begun else None
        own = old if old and old.get_vocab_size() == vocab_size else train_tokenizer(vocab_size, seed)
        (with_bare_words(own) if bare_words else own).save(str(path))
    return Tokenizer.from_file(str(path))


def _bare(word: str) -> str:
    return word.strip(SPACE).lower()


def _unread(texts: list[str]) -> str:
    return "\n".join(QUOTED.sub('"', unmarked(text)) for text in texts)


def _texts(rng: random.Random, num_conversations: int) -> Iterator[tuple[str, str]]:
    """Questions and answers of conversations about pictures of every sort, without the texts that were read."""
    kinds = [kind for kind in SCENES if kind not in ("page", "photo")] * 4 + ["photo"]
    for index in range(num_conversations):
        for conversation in (without_picture(rng), converse(rng, kinds[index % len(kinds)])):
            turns = [turn for turn in (*conversation.turns, *conversation.forks) if turn.kind != "jumble"]
            asked = [conversation.system or "", *(turn.question for turn in turns)]
            said = [turn.answer for turn in turns]
            yield _unread(asked), _unread(said)


@dataclass
class Tokens:
    """A conversation as the model's input. Each fork attends to what is before the forks, and to itself."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)  # the ids of answers, IGNORE elsewhere
    positions: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)  # 0 for what all forks share, 1, 2, ... in the forks
    asked: list[tuple[int, str]] = field(default_factory=list)  # marks of questions, each with the token that it ends
    said: list[tuple[int, str]] = field(default_factory=list)  # marks of answers, comparisons and changes
    looks: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: {name: [] for name in LOOKS})

    def add(self, ids: list[int], branch: int, learned: bool = False, spread: int = 1) -> None:
        """Append tokens to a branch. Branches are added one after the other."""
        seen = len(self.ids) if self.branches and self.branches[-1] == branch else self.branches.count(0)
        start = self.positions[seen - 1] + 1 if seen else 0
        self.ids += ids
        self.labels += ids if learned else [IGNORE] * len(ids)
        self.positions += range(start, start + spread * len(ids), spread)
        self.branches += [branch] * len(ids)

    def placed(self, marks: list[tuple[int, str]]) -> list[tuple[int, str]]:
        """Marks of the tokens that are added next, each with the token that ends at it."""
        return [(len(self.ids) + before - 1, mark) for before, mark in marks]


def _pieces(text: str) -> list[str]:
    """An answer's marks, and texts to be tokenized separately.

    A text in quotes was read from a picture. It is tokenized letter by letter even if it is a common word.
    """
    read = QUOTED.search(text)
    start, end = read.span(1) if read else (len(text), len(text))
    return [*parts(text[:start]), *text[start:end], *parts(text[end:])]


def marked_tokens(
    tokenizer: Tokenizer, text: str, is_question: bool = False, is_plain: bool = False
) -> tuple[list[int], list[tuple[int, str]]]:
    """The text's tokens, and its marks, each with the number of tokens before it.

    In a text that is read letter by letter, each letter has a mark: in an answer before it, in a question after it. In
    a question the mark of the named thing replaces that of the last letter. `is_plain`: quotes are not around what was
    read.
    """
    ids, found, letter = list[int](), list[tuple[int, str]](), ""
    for piece in parts(text) if is_question or is_plain else _pieces(text):
        if MARK.match(piece):
            letter = piece if is_letter(piece) else ""
            if not letter and piece != READ:
                found = [(before, mark) for before, mark in found if before < len(ids) or not is_letter(mark)]
                found.append((len(ids), piece))
            continue
        encoded = tokenizer.encode(piece, add_special_tokens=False)
        for token_id, token in zip(encoded.ids, encoded.tokens, strict=True):
            length = len(token.removeprefix(SPACE))
            if letter and (length == 1 or not is_question):
                found.append((len(ids) + is_question, letter))
            if letter and length:
                letter = next_letter(letter) if length == 1 else ""
            ids.append(token_id)
    return ids, found


def prompt_tokens(tokenizer: Tokenizer, conversation: Conversation, image_tokens: list[int]) -> Tokens:
    """`image_tokens`: how many positions each picture takes, in order."""
    counts, made = iter(image_tokens), Tokens()

    def text(words: str) -> list[int]:
        encoded: list[int] = tokenizer.encode(words, add_special_tokens=False).ids
        return encoded

    def shown(turn: Turn) -> list[int]:
        return [token for _ in turn.pictures for token in (*[IMAGE] * next(counts), BOS, *text("\n"))]

    def open_turn(turn: Turn) -> None:
        """Adds what is before the turn's words, which its forks share."""
        made.add([*(text("\n") if made.ids[-1] == END else []), USER, *text("\n")], 0)
        made.add(shown(turn) if turn.pictures_first else [], 0)

    def say(turn: Turn, branch: int = 0) -> None:
        question, asked = marked_tokens(tokenizer, turn.question, is_question=True)
        for token, mark in made.placed(asked):
            (made.said if is_compared(mark) else made.asked).append((token, mark))
        made.add(question, branch, spread=turn.spread)
        made.add([] if turn.pictures_first else shown(turn), branch)
        made.add([END, *text("\n"), ASSISTANT, *text("\n")], branch)
        for number, part in enumerate(turn.answer.split(GIVEN)):
            answer, said = marked_tokens(tokenizer, part, is_plain=GIVEN in turn.answer and READ not in part)
            made.said += made.placed(said)
            made.add(answer, branch, learned=number % 2 == 0)
        made.add([END], branch, learned=True)

    made.add([BOS], 0)
    if conversation.system is not None:
        made.add([SYSTEM, *text(f"\n{conversation.system}"), END, *text("\n")], 0)
    for turn in conversation.turns[:-1]:
        open_turn(turn)
        say(turn)
    last = conversation.turns[-1]
    open_turn(last)
    say(last, branch=1)
    for branch, turn in enumerate(conversation.forks, 2):
        say(turn, branch)
    return made

"""The tokenizer, trained on what the questions say, and the prompt text of a conversation as token ids.

The prompt is the one that Phi-3-vision's processor makes: the text is cut at each picture, and every piece starts with
its own `<s>`.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from training.model import IGNORE
from training.questions import Conversation, Turn, with_pictures, without_picture
from training.scene import make_scene

SPECIAL_TOKENS = ("<unk>", "<s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>", "<|image|>")
UNKNOWN, BOS, END_OF_TEXT, ASSISTANT, SYSTEM, END, USER, IMAGE = range(len(SPECIAL_TOKENS))


def train_tokenizer(vocab_size: int, seed: int, num_conversations: int = 20_000) -> Tokenizer:
    """Byte-level BPE: any text can be encoded, what the model is asked takes few tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_texts(random.Random(f"tokenizer/{seed}"), num_conversations), trainer)
    return tokenizer


def load_or_train(path: Path, vocab_size: int, seed: int) -> Tokenizer:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        train_tokenizer(vocab_size, seed).save(str(path))
    return Tokenizer.from_file(str(path))


def _texts(rng: random.Random, num_conversations: int) -> Iterator[str]:
    yield from topics.values()  # Python's own documentation: general English that is there wherever this runs
    for index in range(num_conversations):
        is_text = rng.random() < 0.2
        scene = make_scene("shapes", rng.getrandbits(32), index)
        conversation = without_picture(rng) if is_text else with_pictures(rng, [scene])
        yield from (part for turn in conversation.turns for part in (turn.question, turn.answer))


def prompt_tokens(
    tokenizer: Tokenizer, conversation: Conversation, image_tokens: list[int]
) -> tuple[list[int], list[int]]:
    """Token ids and labels; labels are the ids where the model answers and IGNORE elsewhere.

    `image_tokens`: how many positions each picture takes, in order.
    """
    ids, labels, counts = [BOS], [IGNORE], iter(image_tokens)

    def add(tokens: list[int], learned: bool = False) -> None:
        ids.extend(tokens)
        labels.extend(tokens if learned else [IGNORE] * len(tokens))

    def text(words: str) -> list[int]:
        encoded: list[int] = tokenizer.encode(words, add_special_tokens=False).ids
        return encoded

    if conversation.system is not None:
        add([SYSTEM, *text(f"\n{conversation.system}"), END, *text("\n")])
    for number, turn in enumerate(conversation.turns):
        add([*(text("\n") if number else []), USER])
        for piece in _pieces(turn):
            add(text(piece) if piece else [IMAGE] * next(counts) + [BOS])
        add([END, *text("\n"), ASSISTANT, *text("\n")])
        add([*text(turn.answer), END], learned=True)
    return ids, labels


def _pieces(turn: Turn) -> list[str]:
    """The user's words; an empty piece stands for the picture."""
    if turn.picture is None:
        return [f"\n{turn.question}"]
    return ["\n", "", f"\n{turn.question}"] if turn.picture_first else [f"\n{turn.question}", "", "\n"]

"""Checkpoints of published size with random weights, in a cache folder, and their GGUF twins.

One picture of 512 x 512 pixels is one tile of SmolVLM's, and 324 tokens of Qwen2-VL's. Answers of random weights are
random words. Each is one token, also when it comes back in the next turn, as with a real tokenizer.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path
from string import ascii_lowercase

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from benchmarks.published_sizes import PUBLISHED, Published
from benchmarks.real_shapes import write_checkpoint, write_json

TWIN_PROGRAM = Path(__file__).parent / "gguf_twin.py"


def _one_tile(published: Published) -> Published:
    """Pictures are not enlarged, so that 512 x 512 pixels are one tile."""
    return replace(published, images={**published.images, "size": published.images["max_image_size"]})


SHAPES = {
    "smol": _one_tile(PUBLISHED["SmolVLM-256M-Instruct"]),
    "qwen": PUBLISHED["Qwen2-VL-2B-Instruct"],
}

# Other programs want these beside the weights; they hold the same conversation format as Foveal's own.
SMOL_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message.role | capitalize }}"
    "{% if message.content is not string and message.content[0].type == 'image' %}:{% else %}: {% endif %}"
    "{% if message.content is string %}{{ message.content | trim }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
QWEN_TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOKENIZER_CONFIG = {
    "smol": {
        "chat_template": SMOL_TEMPLATE,
        "bos_token": "<|im_start|>",
        "eos_token": "<end_of_utterance>",
        "pad_token": "<|im_start|>",
        "processor_class": "Idefics3Processor",
    },
    "qwen": {
        "chat_template": QWEN_TEMPLATE,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "processor_class": "Qwen2VLProcessor",
    },
}
IMAGE_PROCESSOR = {"smol": "Idefics3ImageProcessor", "qwen": "Qwen2VLImageProcessor"}


def checkpoint(cache: Path, shape: str) -> Path:
    """The folder of a checkpoint, which is written at its first use."""
    folder = cache / f"{shape}-v1"
    if not folder.exists():
        unfinished = _empty(cache / f"{shape}.part")
        write_checkpoint(unfinished, SHAPES[shape])
        tokenizer(SHAPES[shape]).save(str(unfinished / "tokenizer.json"))
        _add_what_others_read(unfinished, shape)
        unfinished.rename(folder)
    return folder


def twin(cache: Path, shape: str, width: str, python: str) -> tuple[Path, Path]:
    """The GGUF file of the decoder in `width` (q8_0, q4_0, f16, bf16), and that of the vision part.

    Raises CalledProcessError if `python` has no package gguf.
    """
    source = checkpoint(cache, shape)
    paths = source / f"{width}.gguf", source / f"mmproj-{width}.gguf"
    if not all(path.exists() for path in paths):
        subprocess.run([python, str(TWIN_PROGRAM), str(source), width], check=True)
    return paths


def tokenizer(published: Published) -> Tokenizer:
    """A token for each byte, the special tokens at their published ids, and words such as " zabcd" elsewhere."""
    special = published.special_tokens
    by_id = {token_id: token for token, token_id in special.items()}
    size = max(published.config["text_config"]["vocab_size"], max(by_id) + 1)
    words = ("Ġz" + "".join(letters) for letters in product(ascii_lowercase, repeat=4))
    names = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(next(words) for _ in range(size))]
    free = iter(names)
    vocab = {by_id.get(token_id) or next(free): token_id for token_id in range(size)}
    built = Tokenizer(models.BPE(vocab, [], ignore_merges=True))  # a word of the vocabulary is one token
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return built


def _add_what_others_read(folder: Path, shape: str) -> None:
    config = TOKENIZER_CONFIG[shape]
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **config})
    images = folder / "preprocessor_config.json"
    kinds = {"image_processor_type": IMAGE_PROCESSOR[shape], "processor_class": config["processor_class"]}
    write_json(images, json.loads(images.read_text()) | kinds)
    if shape == "smol":  # a processor does not compute it from config.json
        write_json(
            folder / "processor_config.json", {"processor_class": config["processor_class"], "image_seq_len": 64}
        )


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder

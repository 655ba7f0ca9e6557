"""Asks about pictures from seeds that the model never saw, in phrasings it never saw; a table per kind of question.

`python -m training.evaluate --url http://127.0.0.1:8000/v1` asks a served model over HTTP;
`python -m training.evaluate --run training/mini.toml` asks the training model of a run directly.
"""

import argparse
import base64
import io
import json
import random
import re
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from training.config import TrainingConfig, read_config
from training.data import Grid, make_batch, make_text
from training.model import IGNORE, Phi3V
from training.questions import CHAT_ANSWERS, PICTURE_QUESTIONS, Conversation, Turn, ask, chat_turn
from training.scene import SCENES, Scene, draw, make_scene
from training.tokenizer import load_or_train
from training.train import answer_logits

SEED = 20261123  # of the held-out pictures; the trainer's seeds are 32 random bits each, from another stream
UNORDERED = ("describe", "shapes", "colours")  # the same words in another order are as right
BATCH = 32


@dataclass(frozen=True)
class Sample:
    kind: str
    conversation: Conversation


def samples(kind: str, count: int, seed: int = SEED, held_out: bool = True, scenes: str = "shapes") -> list[Sample]:
    """Single questions of a kind, each about its own picture; of the chat's kinds without one."""
    rng, found, index = random.Random(f"evaluate/{kind}/{seed}"), list[Sample](), 0
    while len(found) < count:
        index += 1
        if kind in CHAT_ANSWERS:
            turn = chat_turn(rng, held_out)
            asked = (turn.question, turn.answer) if turn.kind == kind else None
            scene = None
        else:
            scene = make_scene(scenes, seed, index)
            asked = ask(rng, kind, scene, held_out)
        if asked:
            found.append(Sample(kind, Conversation(None, (Turn(kind, *asked, scene),))))
    return found


def is_right(kind: str, expected: str, answer: str) -> bool:
    def words(text: str) -> list[str]:
        found = re.findall(r"[a-z]+", text.lower().replace("gray", "grey").replace(" an ", " a "))
        return sorted(found) if kind in UNORDERED else found

    return words(expected) == words(answer)


def ask_trained(config: TrainingConfig, asked: list[Sample]) -> list[str]:
    """Answers by the training model, greedily: right up to the first token that is not the likeliest, then cut."""
    folder = Path(config.run.folder)
    tokenizer = load_or_train(folder / "tokenizer.json", config.model.vocab_size, config.run.seed)
    model = Phi3V(config.model)
    state = torch.load(folder / "checkpoint.pt")["modules"]
    model.load_state_dict({name[2:]: value for name, value in state.items() if name.startswith("0.")})
    answers: list[str] = []
    for start in range(0, len(asked), BATCH):
        answers += _guided_answers(model, tokenizer, config, asked[start : start + BATCH])
    return answers


@torch.no_grad()
def _guided_answers(model: Phi3V, tokenizer: Tokenizer, config: TrainingConfig, asked: list[Sample]) -> list[str]:
    """The likeliest token at each position of the expected answer: what greedy decoding gives as far as it is right."""
    conversations = [sample.conversation for sample in asked]
    scenes = [turn.picture for talk in conversations for turn in talk.turns if turn.picture]
    patches, grids = torch.empty(0), list[Grid]()
    with torch.autocast("cpu", torch.bfloat16):
        if scenes:
            batch = make_batch(config.model, config.model.num_crops, tokenizer, scenes, [])
            patches, grids = model.encode(batch.pixels.float()), batch.grids
        text = make_text(config.model, tokenizer, conversations, grids)
        logits, _ = answer_logits(model, patches, grids, text)
    rows = torch.arange(len(text.owners))[:, None] * len(asked)
    owners = (text.owners + rows)[:, 1:][text.labels[:, 1:] != IGNORE]
    likeliest = logits.argmax(-1)
    return [tokenizer.decode(likeliest[owners == owner].tolist()) for owner in sorted(set(owners.tolist()))]


def ask_served(url: str, model: str, sample: Sample) -> str:
    """One chat completion over HTTP."""
    turn = sample.conversation.turns[0]
    content: list[dict[str, object]] = [{"type": "text", "text": turn.question}]
    if turn.picture:
        content.insert(0, {"type": "image_url", "image_url": {"url": data_url(turn.picture)}})
    body = {"model": model, "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 64}
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        answer: str = json.load(response)["choices"][0]["message"]["content"]
    return answer


def data_url(scene: Scene) -> str:
    packed = io.BytesIO()
    draw(scene).save(packed, "PNG")
    return "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode()


def served_model(url: str) -> str:
    with urllib.request.urlopen(f"{url}/models", timeout=60) as response:
        name: str = json.load(response)["data"][0]["id"]
    return name


def report(asked: list[Sample], answers: list[str], show: int) -> None:
    rows: dict[str, list[bool]] = {}
    for sample, answer in zip(asked, answers, strict=True):
        turn = sample.conversation.turns[0]
        rows.setdefault(sample.kind, []).append(is_right(sample.kind, turn.answer, answer))
        if not rows[sample.kind][-1] and rows[sample.kind].count(False) <= show:
            print(f"  {sample.kind}: {turn.question!r} -> {answer!r}, expected {turn.answer!r}")
    print("| question | right | asked | share |\n|---|---|---|---|")
    for kind, right in rows.items():
        print(f"| {kind} | {sum(right)} | {len(right)} | {sum(right) / len(right):.1%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--url", help="of a served model, up to /v1")
    where.add_argument("--run", type=Path, help="configuration file of a run")
    parser.add_argument("--count", type=int, default=200, help="questions of each kind")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--scenes", choices=list(SCENES), default="shapes")
    parser.add_argument("--kinds", nargs="+", default=[*PICTURE_QUESTIONS, *CHAT_ANSWERS])
    parser.add_argument(
        "--trained-phrasings", action="store_true", help="ask in words of the training, not in held-out ones"
    )
    parser.add_argument("--num-crops", type=int, help="with --run: instead of the configured number")
    parser.add_argument("--show", type=int, default=0, help="wrong answers to print for each kind")
    arguments = parser.parse_args()
    asked = [
        sample
        for kind in arguments.kinds
        for sample in samples(kind, arguments.count, arguments.seed, not arguments.trained_phrasings, arguments.scenes)
    ]
    if arguments.url:
        model = served_model(arguments.url)
        answers = [ask_served(arguments.url, model, sample) for sample in asked]
    else:
        config = read_config(arguments.run)
        if arguments.num_crops:
            config = replace(config, model=replace(config.model, num_crops=arguments.num_crops))
        answers = ask_trained(config, asked)
    report(asked, answers, arguments.show)


if __name__ == "__main__":
    main()

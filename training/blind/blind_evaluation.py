"""Ten skills of fifty questions for a small vision-language model, written without a look at what it was trained on.

    python -m training.blind.blind_evaluation http://127.0.0.1:8000/v1 --json table.json
    python -m training.blind.blind_evaluation --fake oracle    # must be right everywhere; also: wrong, or any word

The pictures are drawn by matplotlib and ImageMagick, the same ones for the same seed.
"""

import argparse
import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from training.blind.asking import asker, fake, served
from training.blind.cases import Case
from training.blind.grading import Reply
from training.blind.skills_charts import CHARTS, READING
from training.blind.skills_declines import DECLINES
from training.blind.skills_json import JSON, TOOLS
from training.blind.skills_shapes import ALTERNATIVES, ATTRIBUTES, COUNTING, EXISTENCE, RELATION_FORMS, Form

SKILLS: dict[str, tuple[Form, ...]] = {
    "alternatives": ALTERNATIVES,
    "relations": RELATION_FORMS,
    "existence": EXISTENCE,
    "charts": CHARTS,
    "counting": COUNTING,
    "attributes": ATTRIBUTES,
    "reading": READING,
    "json": JSON,
    "tools": TOOLS,
    "declines": DECLINES,
}
QUESTIONS = 50


def cases_of(skill: str, seed: int) -> list[Case]:
    """The skill's fifty questions: each form in turn, and every other round of the forms turned round."""
    forms = SKILLS[skill]
    return [
        forms[i % len(forms)](random.Random(f"{seed} {skill} {i}"), (i // len(forms) + i) % 2 == 0)
        for i in range(QUESTIONS)
    ]


def outcome(skill: str, index: int, case: Case, answer: Reply) -> dict[str, Any]:
    """How a question went, in a form for JSON."""
    said = "; ".join(f"{name}({arguments})" for name, arguments in answer.calls) or answer.text
    expected = f"{case.call}({case.truth})" if case.call else case.truth
    return {
        "skill": skill,
        "index": index,
        "question": case.question,
        "expected": expected,
        "answer": said,
        "right": case.rule.accepts(answer),
    }


def evaluate(drawn: dict[str, list[Case]], ask: Callable[[Case], Reply], at_once: int) -> list[dict[str, Any]]:
    """Asks everything, some questions at once."""
    flat = [(skill, i, case) for skill, cases in drawn.items() for i, case in enumerate(cases)]
    with ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(lambda entry: ask(entry[2]), flat))
    return [outcome(*entry, answer) for entry, answer in zip(flat, answers, strict=True)]


def table(outcomes: list[dict[str, Any]]) -> dict[str, int]:
    """How many answers of each skill are right."""
    skills = dict.fromkeys(entry["skill"] for entry in outcomes)
    return {skill: sum(entry["right"] for entry in outcomes if entry["skill"] == skill) for skill in skills}


def report(outcomes: list[dict[str, Any]], misses: bool) -> str:
    """The table, and below it what went wrong."""
    rights = table(outcomes)
    lines = [f"{skill:14}{right:3}/{QUESTIONS}" for skill, right in rights.items()]
    lines.append(f"{'all':14}{sum(rights.values()):3}/{QUESTIONS * len(rights)}")
    if misses:
        lines += ["", "Misses: what was asked | what is right | what was answered"]
        lines += [
            f"{e['skill']} {e['index']}: {e['question'] or '(no question)'} | {e['expected']} | {e['answer']}"
            for e in outcomes
            if not e["right"]
        ]
    return "\n".join(lines)


def save_pictures(drawn: dict[str, list[Case]], folder: Path) -> None:
    """Each picture under its skill and number."""
    folder.mkdir(parents=True, exist_ok=True)
    for skill, cases in drawn.items():
        for i, case in enumerate(cases):
            (folder / f"{skill}-{i:02}.png").write_bytes(case.picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("base_url", nargs="?", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--model", default="foveal-mini")
    parser.add_argument("--api-key", default="none")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--skill", choices=tuple(SKILLS), action="append", help="only this one; repeat for several")
    parser.add_argument("--fake", metavar="KIND", help="oracle, wrong, or a word that is the answer to everything")
    parser.add_argument("--json", type=Path, help="write the table and every answer to this file")
    parser.add_argument("--no-misses", action="store_true", help="print the table alone")
    parser.add_argument("--pictures", type=Path, help="save the pictures in this folder")
    given = parser.parse_args()
    drawn = {skill: cases_of(skill, given.seed) for skill in given.skill or SKILLS}
    if given.pictures:
        save_pictures(drawn, given.pictures)
    cases = [case for some in drawn.values() for case in some]
    client = fake(given.fake, cases, given.max_tokens) if given.fake else served(given.base_url, given.api_key)
    with client:
        ask = asker(client, "fake" if given.fake else given.model, given.max_tokens)
        outcomes = evaluate(drawn, ask, given.at_once)
    print(report(outcomes, not given.no_misses))
    if given.json:
        content = {"seed": given.seed, "right": table(outcomes), "of": QUESTIONS, "answers": outcomes}
        given.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()

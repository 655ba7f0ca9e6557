"""said.py: reasoning, text and calls of an answer, cut at every character."""

from __future__ import annotations

import pytest

from foveal.conversation.reasoning import KNOWN, Marks, is_closed, is_open, marks_in
from foveal.conversation.said import Reading, Said
from foveal.conversation.tools.form import HERMES
from foveal.types import Tool

THINK = KNOWN[0]
TOOLS = (Tool("now"),)


def read(text: str, *, marks: Marks | None = THINK, is_open: bool = False, by: int = 1000) -> tuple[str, str, int]:
    """Reasoning, text and the number of calls."""
    parser = Reading(marks, is_open, HERMES, TOOLS).parser()
    parts = [text[i : i + by] for i in range(0, len(text), by)] or [""]
    said = [each for i, part in enumerate(parts) for each in parser.push(part, is_last=i == len(parts) - 1)]
    calls = {call.index for each in said for call in each.calls}
    return "".join(each.reasoning for each in said), "".join(each.text for each in said), len(calls)


@pytest.mark.parametrize(
    ("text", "opened", "expected"),
    [
        ("<think>\nHm,\n\nyes.\n</think>\n\nIt is red.", False, ("Hm,\n\nyes.", "It is red.", 0)),
        ("Hm.</think>Red", True, ("Hm.", "Red", 0)),  # the prompt ends with the first mark
        ("It is <think> red.", False, ("", "It is <think> red.", 0)),
        ("<think>", False, ("", "", 0)),
        ("<think>Hm, </thi", False, ("Hm, </thi", "", 0)),  # cut
        ("<thin ice>", False, ("", "<thin ice>", 0)),
        ("<think></think>Red", False, ("", "Red", 0)),
        ("", True, ("", "", 0)),
        (
            '<think>I call now.</think>\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
            False,
            ("I call now.", "", 1),
        ),
        (
            '<think><tool_call>\n{"name": "now", "arguments": {}}</think>Red',
            False,
            ('<tool_call>\n{"name": "now", "arguments": {}}', "Red", 0),
        ),  # what is thought is not called
    ],
)
def test_the_parts_are_told_apart_however_the_text_is_cut(
    text: str, opened: bool, expected: tuple[str, str, int]
) -> None:
    for by in (1, 2, 3, 5, 1000):
        assert read(text, is_open=opened, by=by) == expected


def test_without_marks_all_is_the_answer() -> None:
    assert read("<think>Hm.</think>", marks=None) == ("", "<think>Hm.</think>", 0)


def test_parts_keep_their_order() -> None:
    parser = Reading(THINK, False, HERMES, TOOLS).parser()

    said = parser.push('<think>A</think>B<tool_call>{"name": "now", "arguments": {}}</tool_call> C', is_last=True)

    assert [(each.reasoning, each.text, len(each.calls)) for each in said] == [("A", "B", 1), ("", " C", 0)]


CALL = '<tool_call>\n{"name": "now", "arguments": {"at": "END"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        (f"So: {CALL}", "END", ("", "So:", 1, None)),  # in an argument
        (f"So: {CALL}", "\n", ("", "So:", 1, None)),  # in the form of a call
        (f"So: {CALL}", "<tool_call>", ("", "So:", 1, None)),
        (f"So EN{CALL} D", "END", ("", "So EN D", 1, None)),  # a call in its middle
        (f"So END {CALL}", "END", ("", "So ", 0, "END")),
        (f"{CALL} So END of it", "END", ("", " So ", 1, "END")),
        ('<tool_call>\n{"name": "END"} END', "} E", ("", '<tool_call>\n{"name": "END"', 0, "} E")),  # no call
        ("<think>Hm END</think>So", "END", ("Hm ", "", 0, "END")),
        ("<think>Hm EN</think>D", "END", ("Hm EN", "D", 0, None)),
        ("So EN", "END", ("", "So EN", 0, None)),
    ],
)
def test_a_stop_string_ends_what_is_said_but_not_a_call(
    text: str, stop: str, expected: tuple[str, str, int, str | None]
) -> None:
    for by in (1, 2, 3, 5, 1000):
        parser = Reading(THINK, False, HERMES, TOOLS).parser([stop])
        said = []
        for start in range(0, len(text), by):
            said += parser.push(text[start : start + by], is_last=start + by >= len(text))
            if parser.stop is not None:
                break
        calls = {call.index for each in said for call in each.calls}
        reasoning, shown = "".join(each.reasoning for each in said), "".join(each.text for each in said)
        assert (reasoning, shown, len(calls), parser.stop) == expected, by
        assert parser.has_calls == bool(calls)


def test_what_is_certain_comes_at_once() -> None:
    parser = Reading(THINK).parser()

    assert parser.push("<think>") == []
    assert parser.push("Hm") == [Said(reasoning="Hm")]
    assert parser.is_reasoning
    assert parser.push(", yes</think>Re") == [Said(reasoning=", yes", text="Re")]


def test_a_template_tells_the_marks_and_a_prompt_whether_they_are_open() -> None:
    assert marks_in("{{ message.content.split('</think>')[-1] }}") == THINK
    assert marks_in("{{ message.content }}") is None
    assert is_open("<|im_start|>assistant\n<think>\n", THINK)
    assert not is_open("<|im_start|>assistant\n", THINK)
    assert is_closed("<|im_start|>assistant\n<think>\n\n</think>\n\n", THINK)

"""The log on stderr: one line a record, whatever is in it; above a progress bar, never in it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from foveal.config import LogConfig
from foveal.serving import logs

logger = logging.getLogger("foveal.test")
FORGED = "a\r\n12:00:00 INFO forged \x1b[2J\u2028\x85b"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_record_of_text_is_one_line_of_printable_characters(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogConfig())
    logger.warning("said %s", FORGED)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(r"WARNING said a\r\n12:00:00 INFO forged \x1b[2J\u2028\x85b")


def test_a_record_of_json_is_one_object_with_its_facts_as_keys(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogConfig(format="json"))
    logger.info("GET / 200", extra={"facts": {"path": FORGED, "status": 200}})
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert (said["level"], said["path"], said["status"]) == ("info", FORGED, 200)
    assert said["time"].endswith("+00:00")


def test_a_traceback_of_our_own_bug_stays_in_its_object(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogConfig(format="json"))
    try:
        raise RuntimeError("what happened")
    except RuntimeError:
        logger.exception("request 1 failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "RuntimeError: what happened" in json.loads(line)["traceback"]


def test_a_traceback_of_text_is_indented_and_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogConfig())
    try:
        raise RuntimeError(FORGED)
    except RuntimeError:
        logger.exception("request 1 failed")
    line, *traceback = capsys.readouterr().err.splitlines()
    assert line.endswith("ERROR request 1 failed")
    assert all(each.startswith("  ") and each.isprintable() for each in traceback)
    assert r"  12:00:00 INFO forged \x1b[2J" in traceback


def test_records_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogConfig(level="warning"))
    logger.info("a request")
    assert capsys.readouterr().err == ""


def test_lines_follow_stderr_where_a_progress_bar_has_taken_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    logs.configure(LogConfig())
    above_the_bar = io.StringIO()
    monkeypatch.setattr(sys, "stderr", above_the_bar)
    logger.warning("while loading")
    assert "while loading" in above_the_bar.getvalue()
    assert capsys.readouterr().err == ""

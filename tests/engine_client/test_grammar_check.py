"""engine_client/grammar_check.py: grammars are tried in a process that they cannot harm."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from foveal.config import DEFAULT_BOUNDS, SchemaConfig
from foveal.engine.grammar import translate
from foveal.engine_client import grammar_check
from foveal.engine_client.grammar_check import GrammarCheck
from foveal.errors import InvalidRequest
from foveal.models.hub import BUNDLED_FOLDER
from foveal.types import Grammar
from tests.builders import byte_tokenizer

pytestmark = pytest.mark.anyio

GOOD = Grammar("json_schema", '{"type":"object"}')
ENDLESS = Grammar(  # the automaton of "one word with all of these in it" doubles with each of them
    "json_schema", json.dumps({"allOf": [{"type": "string", "pattern": f"a.*{i}"} for i in range(60)]})
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the worker takes longer to start than a client would wait."""
    monkeypatch.setattr(grammar_check, "WAIT_S", 60.0)


@asynccontextmanager
async def checking(
    folder: Path, time_limit_s: float = 60.0, bounds: SchemaConfig = DEFAULT_BOUNDS
) -> AsyncIterator[GrammarCheck]:
    byte_tokenizer(("<|end|>",)).save(str(folder / "tokenizer.json"))
    check = GrammarCheck(folder, time_limit_s, bounds)
    try:
        yield check
    finally:
        await check.close()


async def test_a_good_grammar_is_translated(tmp_path: Path) -> None:
    async with checking(tmp_path) as check:
        assert await check.translate(GOOD) == await check.translate(GOOD) == translate(GOOD)


async def test_the_operators_bounds_reach_the_grammar(tmp_path: Path) -> None:
    bounds = SchemaConfig(text_length=3)
    async with checking(tmp_path, bounds=bounds) as check:
        assert await check.translate(GOOD) == translate(GOOD, bounds) != translate(GOOD)


async def test_a_bad_one_is_the_clients_to_mend(tmp_path: Path) -> None:
    async with checking(tmp_path) as check:
        with pytest.raises(InvalidRequest, match="must be one of array") as caught:
            await check.translate(Grammar("json_schema", '{"type":"nonsense"}', source="This text.format"))
        assert caught.value.message.startswith("This text.format cannot be used")
        assert caught.value.param == "text.format"


async def test_an_endless_grammar_is_stopped_in_time_and_the_next_is_served(tmp_path: Path) -> None:
    async with checking(tmp_path, time_limit_s=1.0) as check:
        await check.translate(GOOD)
        with pytest.raises(InvalidRequest, match="too complex"):
            await check.translate(ENDLESS)
        assert await check.translate(Grammar("json_schema", "{}"))


async def test_a_grammar_that_grows_heavy_after_some_tokens_is_refused() -> None:
    check = GrammarCheck(BUNDLED_FOLDER, time_limit_s=60.0)  # its vocabulary has words in it
    try:
        with pytest.raises(InvalidRequest, match="Too many items"):
            await check.translate(Grammar("grammar", 'start: s\ns: s s | s s s | "a" | "b" | /[a-z]/ | ""'))
    finally:
        await check.close()


async def test_a_client_that_leaves_does_not_get_the_next_ones_answer(tmp_path: Path) -> None:
    async with checking(tmp_path) as check:
        await check.translate(GOOD)
        leaving = asyncio.create_task(check.translate(ENDLESS))
        await asyncio.sleep(0.05)
        leaving.cancel()
        other = Grammar("json_schema", '{"const":1}')
        assert await check.translate(other) == translate(other)


async def test_a_worker_that_was_killed_is_replaced(tmp_path: Path) -> None:
    async with checking(tmp_path) as check:
        await check.translate(GOOD)
        assert check._worker is not None
        check._worker.kill()
        await check._worker.end()
        other = Grammar("json_schema", '{"const":1}')
        assert await check.translate(other) == translate(other)


def test_the_servers_side_imports_neither_torch_nor_the_grammar_library() -> None:
    code = (
        "import sys, foveal.engine_client.grammar_check; sys.exit(bool({'torch', 'llguidance'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

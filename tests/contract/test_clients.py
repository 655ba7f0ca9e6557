"""Published clients, each in every way of asking that it has.

A logit bias makes one token win, so the answer is known whatever the model's weights are. What is expected of an answer
is here once for all clients; a client's program (clients/) only asks and reports what its library returned.
The environments are made by `make contract`; a client whose environment could not be installed is skipped.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tokenizers

from foveal.models.hub import BUNDLED_FOLDER
from tests.contract.clients.asked import Asked
from tests.contract.environments import environment
from tests.contract.pictures import PNG, drawing, num_tokens
from tests.contract.serve import KEY, MODEL
from tests.media.builders import data_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.contract.serve import Served
    from tests.media.host import Host

    Seen = dict[str, Any]

pytestmark = [pytest.mark.clients, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
CLIENTS_FOLDER = Path(__file__).parent / "clients"
CLIENTS_PACKAGE = "tests.contract.clients"
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # it would fetch a list of prices
ALIAS = "accounts/fireworks/models/foveal-mini"
WORD = " red"
NUM_WORDS = 6
STOP = "d r"  # begins in one token and ends in the next

CHAT = {"chat", "chat, streamed", "picture by URL", "stop", "alias"}
CHAT_ASYNC = {"chat, async", "chat, async, streamed"}
COMPLETIONS = {"completion", "completion, streamed"}
EVERYTHING = CHAT | CHAT_ASYNC | COMPLETIONS | {"completion, async", "completion, async, streamed", "two choices"}


@dataclass(frozen=True)
class Client:
    program: str
    environment: str
    ways: set[str]  # what it must have asked, out of ANSWERS
    errors: Mapping[str, str]  # what it must have asked, out of MESSAGES -> the client's own exception
    prefix: str = ""  # before each way, where a program speaks for several clients


ERRORS = {
    "unknown model": "NotFoundError",
    "broken picture": "BadRequestError",
    "unknown field": "BadRequestError",
    "wrong key": "AuthenticationError",
}
LANGCHAIN_ERRORS = {
    "unknown model": "ModelNotFoundError",
    "broken picture": "InvalidRequestError",
    "unknown field": "InvalidRequestError",
    "wrong key": "AuthenticationError",
}
CLIENTS = {
    "fireworks-ai 0.15": Client(
        "fireworks_0_15.py",
        "fireworks_0_15",
        EVERYTHING | {"chat after a stream", "completion, picture by URL"},
        dict.fromkeys(ERRORS, "InvalidRequestError") | {"wrong key": "AuthenticationError"},
    ),
    "fireworks-ai 1": Client(
        "fireworks_1.py", "openai_3", EVERYTHING | {"chat, include_usage", "two choices, streamed"}, ERRORS
    ),
    "openai": Client("openai.py", "openai_3", EVERYTHING | {"chat, include_usage", "two choices, streamed"}, ERRORS),
    "openai for Node": Client(
        "openai.mjs", "node", CHAT | COMPLETIONS | {"chat, include_usage", "two choices"}, ERRORS
    ),
    # It fetches pictures itself, and from no loopback address.
    "AI SDK": Client("ai_sdk.mjs", "node", CHAT - {"picture by URL"}, dict.fromkeys(ERRORS, "AI_APICallError")),
    "langchain-fireworks": Client(
        "langchain.py",
        "openai_3",
        CHAT | CHAT_ASYNC,
        {way: f"Fireworks{error}" for way, error in LANGCHAIN_ERRORS.items()},
        "langchain-fireworks: ",
    ),
    "langchain-openai": Client(
        "langchain.py",
        "openai_3",
        CHAT | CHAT_ASYNC,
        {way: f"OpenAI{error}" for way, error in LANGCHAIN_ERRORS.items()},
        "langchain-openai: ",
    ),
    "litellm fireworks_ai/": Client(
        "litellm.py", "litellm", CHAT | CHAT_ASYNC | {"two choices"}, ERRORS, "fireworks_ai/: "
    ),
    "litellm openai/": Client("litellm.py", "litellm", CHAT | CHAT_ASYNC | {"two choices"}, ERRORS, "openai/: "),
    "litellm text-completion-openai/": Client("litellm.py", "litellm", COMPLETIONS, {}, "text-completion-openai/: "),
}


@dataclass(frozen=True)
class Answer:
    """What a client's user sees of an answer; choices in the order of their index."""

    texts: tuple[str, ...] = (WORD * NUM_WORDS,)
    finish_reasons: tuple[str, ...] = ("length",)
    completion_tokens: int = NUM_WORDS
    prompt_tokens: int = 0
    total_tokens: int = 0


ONE = Answer()
TWO = Answer((WORD * NUM_WORDS,) * 2, ("length", "length"), 2 * NUM_WORDS)
ANSWERS = {
    "chat": ONE,
    "chat, streamed": ONE,
    "chat, include_usage": ONE,
    "chat after a stream": ONE,
    "chat, async": ONE,
    "chat, async, streamed": ONE,
    "completion": ONE,
    "completion, streamed": ONE,
    "completion, async": ONE,
    "completion, async, streamed": ONE,
    "picture by URL": ONE,
    "completion, picture by URL": ONE,
    "two choices": TWO,
    "two choices, streamed": TWO,
    "stop": Answer((" re",), ("stop",), 2),
    "alias": ONE,
}
MESSAGES = {
    "unknown model": "Model not found, inaccessible, and/or not deployed",
    "broken picture": "image 1: not a picture in a supported format",
    "unknown field": "Extra inputs are not permitted, field: 'colour', value: 'red'",
    "wrong key": "The API key you provided is invalid.",
}
every_client = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS.keys())


def only(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("client", [CLIENTS[name] for name in names], ids=names)


# --- what they see ----------------------------------------------------------------------------------------------------


@every_client
def test_every_way_of_asking_gives_the_answer(client: Client, asked: Asked, prompt_tokens: dict[str, int]) -> None:
    seen = run(client, asked)

    answers = {way: read(seen[way]) for way in seen.keys() & ANSWERS.keys()}

    assert answers == {way: expected(way, prompt_tokens) for way in client.ways}


@every_client
def test_errors_are_the_clients_own_with_our_message(client: Client, asked: Asked) -> None:
    seen = run(client, asked)

    errors = {way: seen[way]["error"] for way in client.errors}

    assert {way: error["type"] for way, error in errors.items()} == client.errors
    for way, error in errors.items():
        assert MESSAGES[way] in error["message"]


@only("fireworks-ai 1", "openai", "openai for Node", "litellm fireworks_ai/", "litellm openai/")
def test_the_image_is_counted(client: Client, asked: Asked) -> None:
    seen = run(client, asked)

    usages = {way: usage(saw)["prompt_tokens_details"] for way, saw in seen.items() if way in client.ways}

    assert {details["image_tokens"] for details in usages.values()} == {num_tokens(drawing())}


@only("fireworks-ai 1", "openai")
def test_several_prompts_have_each_their_images(client: Client, asked: Asked) -> None:
    assert read(run(client, asked)["two prompts"]).texts == TWO.texts


@only(
    "fireworks-ai 0.15", "fireworks-ai 1", "openai", "openai for Node", "langchain-fireworks", "langchain-openai",
    "litellm fireworks_ai/", "litellm openai/",
)  # fmt: skip
def test_logprobs(client: Client, asked: Asked) -> None:
    (choice,) = run(client, asked)["logprobs"]["choices"]

    entries = choice["logprobs"]["content"]

    assert [entry["token"] for entry in entries] == [WORD] * NUM_WORDS
    assert all(len(entry["top_logprobs"]) == 2 for entry in entries)
    assert all(bytes(entry["bytes"]).decode() == WORD for entry in entries)


@only("fireworks-ai 0.15", "fireworks-ai 1", "openai", "openai for Node")
def test_legacy_logprobs(client: Client, asked: Asked) -> None:
    (choice,) = run(client, asked)["legacy logprobs"]["choices"]

    columns = choice["logprobs"]

    assert columns["tokens"] == [WORD] * NUM_WORDS
    assert columns["text_offset"] == [len(WORD) * i for i in range(NUM_WORDS)]
    assert [len(top) for top in columns["top_logprobs"]] == [2] * NUM_WORDS
    assert all(logprob <= 0 for logprob in columns["token_logprobs"])


@only("fireworks-ai 0.15", "openai", "openai for Node")
def test_the_list_of_models(client: Client, asked: Asked) -> None:
    (model,) = run(client, asked)["models"]["data"]

    assert (model["id"], model["object"], model["supports_image_input"]) == (MODEL, "model", True)


@only("langchain-fireworks", "langchain-openai")
def test_langchain_counts_a_stream_once(client: Client, asked: Asked, prompt_tokens: dict[str, int]) -> None:
    assert read(run(client, asked)["chat, usage asked for"]) == expected("chat, streamed", prompt_tokens)


# --- how they are run -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asked(served: Served, pictures: Host) -> Asked:
    tokenizer = tokenizers.Tokenizer.from_file(str(BUNDLED_FOLDER / "tokenizer.json"))
    (word,) = tokenizer.encode(WORD, add_special_tokens=False).ids
    return Asked(
        url=served.url,
        key=KEY,
        model=MODEL,
        alias=ALIAS,
        picture=data_url(PNG),
        picture_url=pictures.url("/drawing.png"),
        broken_picture=data_url(b"not a picture"),
        question="What is it?",
        prompt="USER: <image>\nWhat is it?\n\nASSISTANT:",
        max_tokens=NUM_WORDS,
        forced={str(word): 100},
        stop=STOP,
    )


@pytest.fixture(scope="module")
def prompt_tokens(served: Served, asked: Asked) -> dict[str, int]:
    """What the two questions take, as a request without any client says."""
    chat = {"model": MODEL, "messages": asked.messages(), "max_tokens": 1}
    completion = {"model": MODEL, "prompt": asked.prompt, "images": [asked.picture], "max_tokens": 1}
    return {
        "chat": served.post("/v1/chat/completions", chat).json()["usage"]["prompt_tokens"],
        "completion": served.post("/v1/completions", completion).json()["usage"]["prompt_tokens"],
    }


def expected(way: str, prompt_tokens: Mapping[str, int]) -> Answer:
    answer = ANSWERS[way]
    num_prompt_tokens = prompt_tokens["completion" if way.startswith("completion") else "chat"]
    total_tokens = num_prompt_tokens + answer.completion_tokens
    return replace(answer, prompt_tokens=num_prompt_tokens, total_tokens=total_tokens)


def run(client: Client, asked: Asked) -> Seen:
    """What the client's program reports: {way: a reply, a stream's chunks, or an error}."""
    report = _report(client.program, environment(client.environment), json.dumps(asdict(asked)))
    return {way.removeprefix(client.prefix): saw for way, saw in report.items() if way.startswith(client.prefix)}


@functools.cache
def _report(program: str, folder: Path, asked: str) -> Seen:
    if program.endswith(".mjs"):  # on standard input, it finds its packages from the working directory
        command, script, cwd = ["node", "--input-type=module", "-", asked], CLIENTS_FOLDER / program, folder
    else:
        module = f"{CLIENTS_PACKAGE}.{program.removesuffix('.py')}"
        command, script, cwd = [str(folder / "bin/python"), "-m", module, asked], Path(os.devnull), ROOT
    with script.open() as stdin:
        done = subprocess.run(
            command, stdin=stdin, cwd=cwd, env=os.environ | QUIET, capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        pytest.fail(f"{program} failed:\n{done.stderr}")
    seen: Seen = json.loads(done.stdout)
    return seen


# --- what their reports say -------------------------------------------------------------------------------------------


def read(saw: Any) -> Answer:
    """A reply, or the chunks of a stream put together."""
    chunks = saw if isinstance(saw, list) else [saw]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    indices = sorted({choice["index"] for choice in choices})
    counts = usage(saw)
    return Answer(
        tuple("".join(_text(choice) for choice in choices if choice["index"] == index) for index in indices),
        tuple(choice["finish_reason"] for index in indices for choice in choices if _ends(choice, index)),
        counts["completion_tokens"],
        counts["prompt_tokens"],
        counts["total_tokens"],
    )


def usage(saw: Any) -> dict[str, Any]:
    """The last usage that was seen; some clients put an empty one into every chunk."""
    chunks = saw if isinstance(saw, list) else [saw]
    found = [chunk["usage"] for chunk in chunks if (chunk.get("usage") or {}).get("prompt_tokens")]
    return found[-1] if found else dict.fromkeys(("completion_tokens", "prompt_tokens", "total_tokens"))


def _text(choice: dict[str, Any]) -> str:
    text = choice["text"] if "text" in choice else (choice.get("message") or choice["delta"]).get("content")
    return text or ""


def _ends(choice: dict[str, Any], index: int) -> bool:
    return choice["index"] == index and choice["finish_reason"] is not None

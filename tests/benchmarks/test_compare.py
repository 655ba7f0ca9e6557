"""benchmarks.compare: the table, what is found, the tokenizer of random words, the server around a library."""

from __future__ import annotations

import json
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from queue import Queue

import httpx
import numpy as np
import pytest

from benchmarks.compare import in_process, peers, shapes, table
from benchmarks.compare.rows import user
from benchmarks.compare.visits import Measured, Visit

MEASURED = Measured(
    "two cores",
    "2026-01-01",
    [{"memory read, GB/s": 20.0}, {"memory read, GB/s": 30.0}],
    [
        Visit("smol", "Foveal int8", 0, [], {"first": [1.0, 3.0], "decode1": [100.0]}, 64),
        Visit("smol", "Foveal int8", 1, [], {"first": [2.0]}, 64),
        Visit("smol", "llama.cpp q8_0", 0, [], {"first": [4.0], "decode1": [50.0]}, 128),
        Visit("smol", "vLLM bf16", 0, [], error="it did not start"),
    ],
)


def test_a_cell_is_the_median_of_all_visits_and_the_ratio_is_ours_by_the_fastest_other() -> None:
    lines = table.markdown(MEASURED).splitlines()

    assert "| | Foveal int8 | llama.cpp q8_0 | our best / fastest other |" in lines
    assert "| first token, unseen image, s | **2** | 4 | 0.50 |" in lines
    assert "| decoding, 1 stream, tokens/s | **100** | 50 | 2.00 |" in lines


def test_the_table_says_what_each_saw_what_was_not_measured_and_the_best_of_the_machine() -> None:
    said = table.markdown(MEASURED)

    assert "Foveal int8 takes 64 tokens an image, llama.cpp q8_0 takes 128 tokens an image" in said
    assert "Not measured, vLLM bf16: it did not start" in said
    assert "memory read, GB/s 30" in said
    assert "Decoding, Foveal int8 / llama.cpp q8_0, 1, 4 and 16 streams: 2.00." in said


def test_only_what_stands_between_the_marks_of_a_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")

    table.write(MEASURED, page)

    text = page.read_text()
    assert text.startswith(f"before\n{table.BEGIN}\nMeasured 2026-01-01")
    assert text.endswith(f"\n{table.END}\nafter\n")
    assert "old" not in text


def test_a_place_that_is_named_wins_over_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")

    found = peers.find({"llama": "/opt/llama-server"})

    assert (found.llama, found.vllm) == ("/opt/llama-server", "/usr/bin/vllm")


@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_each_random_word_is_one_token_that_comes_back_as_it_was(shape: str) -> None:
    tokenizer = shapes.tokenizer(shapes.SHAPES[shape])
    answer = [1000, 40000, 2000, 2000]

    text = tokenizer.decode(answer)

    assert tokenizer.encode(f"User:{text}").ids[len("User:") :] == answer


def test_special_tokens_keep_their_published_ids() -> None:
    published = shapes.SHAPES["qwen"]

    tokenizer = shapes.tokenizer(published)

    assert {name: tokenizer.token_to_id(name) for name in published.special_tokens} == published.special_tokens


def test_the_server_around_a_library_streams_each_token_and_counts_them() -> None:
    def answer(batch: list[in_process.Asked]) -> None:
        for asked in batch:
            asked.num_prompt_tokens = 7
            for number in range(asked.max_tokens):
                asked.tokens.put(f" z{number}")

    in_process.Handler.waiting = Queue()
    threading.Thread(target=in_process.work, args=(in_process.Handler.waiting, answer), daemon=True).start()
    with ThreadingHTTPServer(("127.0.0.1", 0), in_process.Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
        said = httpx.post(url, json={"messages": [user("Hello")], "max_tokens": 3}, trust_env=False).text
        server.shutdown()

    events = [json.loads(line.removeprefix("data: ")) for line in said.splitlines() if line]
    assert [event["choices"][0]["delta"].get("content") for event in events] == [" z0", " z1", " z2", None]
    assert events[-1]["usage"] == {"prompt_tokens": 7, "completion_tokens": 3}


def test_pictures_reach_the_library_as_pixels_in_their_order() -> None:
    from PIL import Image

    from foveal.bench.pictures import data_url

    red, blue = (data_url(Image.new("RGB", (8, 8), colour), "png") for colour in ("red", "blue"))

    found = in_process._pictures([user("one", red), {"role": "assistant", "content": "a"}, user("two", blue)])

    assert [tuple(np.asarray(picture)[0, 0]) for picture in found] == [(255, 0, 0), (0, 0, 255)]

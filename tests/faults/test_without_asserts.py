"""`python -O` takes all asserts out of the program: none of them may have held anything."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import httpx
import pytest

from benchmarks.real_shapes import ready_url
from tests.http.client import ASK
from tests.media.builders import data_url, png


@pytest.mark.slow
@pytest.mark.no_cover
def test_a_server_without_asserts_answers_and_refuses_as_ever() -> None:
    command = [sys.executable, "-O", "-m", "foveal", "serve", "foveal-mini", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = f"{ready_url(process)}/chat/completions"
            assert process.stderr is not None
            threading.Thread(target=process.stderr.read, daemon=True).start()

            def ask(content: Any, **fields: Any) -> httpx.Response:
                body = ASK | {"messages": [{"role": "user", "content": content}]} | fields
                return httpx.post(url, json=body, timeout=60)

            shown = [{"type": "image_url", "image_url": {"url": data_url(png())}}]
            answer = ask(shown, max_tokens=20)
            refused = [
                ask([{"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}}]),
                ask([{"type": "image_url", "image_url": {"url": data_url(b"no picture")}}]),
                ask("Hi", max_tokens=-1),
                ask("Hi", unheard_of=1),
            ]
        finally:
            process.terminate()
    assert "red" in answer.json()["choices"][0]["message"]["content"]
    assert [response.status_code for response in refused] == [400] * 4

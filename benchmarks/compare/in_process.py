"""A small server around transformers' generate, which is none itself, so that all are measured in the same way.

    PYTHON in_process.py transformers FOLDER DTYPE PORT

Requests that wait are answered as one static batch, as a script would do it. It speaks as much of OpenAI's chat
completions as benchmarks/compare/rows.py asks for, and runs in the Python of the library without Foveal.
"""

from __future__ import annotations

import base64
import io
import json
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_BATCH = 16
GATHER_S = 0.02  # requests that come within it share a batch


@dataclass
class Asked:
    messages: list[dict[str, Any]]
    max_tokens: int
    tokens: queue.Queue[str | None] = field(default_factory=queue.Queue)  # None ends it
    num_prompt_tokens: int = 0


Answer = Callable[[list[Asked]], None]
"""Puts max_tokens tokens into each queue, and the prompt's length into the record. All ask for equally many."""


def load_transformers(folder: str, dtype: str) -> Answer:
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    processor.tokenizer.padding_side = "left"
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    model.generation_config.eos_token_id = None  # answers are as long as they are asked to be
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id

    class Streamer:
        """generate() puts the prompt first, then one token of each sequence."""

        def __init__(self, batch: list[Asked]) -> None:
            self.batch, self.has_prompt = batch, False

        def put(self, value: Any) -> None:
            if self.has_prompt:
                for asked, token in zip(self.batch, value.flatten().tolist(), strict=True):
                    asked.tokens.put(processor.tokenizer.decode([token], skip_special_tokens=False))
            self.has_prompt = True

        def end(self) -> None:
            pass

    def answer(batch: list[Asked]) -> None:
        pictures = [found for asked in batch for found in _pictures(asked.messages)]
        texts = [
            processor.tokenizer.apply_chat_template(_placed(asked.messages), add_generation_prompt=True, tokenize=False)
            for asked in batch
        ]
        inputs = processor(text=texts, images=pictures or None, padding=True, return_tensors="pt")
        for asked, length in zip(batch, inputs["attention_mask"].sum(-1).tolist(), strict=True):
            asked.num_prompt_tokens = length
        inputs = inputs.to(dtype=model.dtype)
        with torch.inference_mode():
            model.generate(**inputs, max_new_tokens=batch[0].max_tokens, do_sample=False, streamer=Streamer(batch))

    return answer


def _placed(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pictures as the template wants them: by place, without their bytes."""
    return [
        message
        if isinstance(message["content"], str)
        else message | {"content": [{"type": "image"} if "image_url" in part else part for part in message["content"]]}
        for message in messages
    ]


def _pictures(messages: list[dict[str, Any]]) -> list[Any]:
    from PIL import Image

    parts = [part for message in messages if isinstance(message["content"], list) for part in message["content"]]
    urls = [part["image_url"]["url"] for part in parts if "image_url" in part]
    return [Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))).convert("RGB") for url in urls]


def work(waiting: queue.Queue[Asked], answer: Answer) -> None:
    """Answers batches of what waits. An error ends the answers of its batch, and is printed."""
    while True:
        batch = [waiting.get()]
        while len(batch) < MAX_BATCH:
            try:
                batch.append(waiting.get(timeout=GATHER_S))
            except queue.Empty:
                break
        try:
            answer(batch)
        finally:
            for asked in batch:
                asked.tokens.put(None)


class Handler(BaseHTTPRequestHandler):
    waiting: queue.Queue[Asked]
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._begin("application/json")
        self.wfile.write(json.dumps({"data": [{"id": "in-process"}]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asked = Asked(body["messages"], body["max_tokens"])
        self.waiting.put(asked)
        self._begin("text/event-stream")
        count = 0
        while (text := asked.tokens.get()) is not None:
            count += 1
            self._event({"choices": [{"delta": {"content": text}}]})
        usage = {"prompt_tokens": asked.num_prompt_tokens, "completion_tokens": count}
        self._event({"choices": [{"delta": {}, "finish_reason": "length"}], "usage": usage})

    def _begin(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.end_headers()

    def _event(self, chunk: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    def log_message(self, format: str, *args: Any) -> None:
        pass


LIBRARIES = {"transformers": load_transformers}


def main() -> None:
    library, folder, dtype, port = sys.argv[1:]
    Handler.waiting = queue.Queue()
    threading.Thread(target=work, args=(Handler.waiting, LIBRARIES[library](folder, dtype)), daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()

"""A `transformers serve` of the tests' own, over a random LLaVA."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.parity.families import FAMILIES
from tests.scale.llama import free_port, running

if TYPE_CHECKING:
    from collections.abc import Iterator

ENVIRONMENT = Path(__file__).parents[2] / ".clients" / "serve"  # make scale makes it
INSTALLED = ENVIRONMENT / "installed"
TEMPLATE = (
    "{% for message in messages %}[{{ message['role'] }}]{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}[assistant]"
)


@contextmanager
def transformers_serve(folder: Path) -> Iterator[str]:
    """Its address, up to /v1. The model is called as its folder."""
    made = FAMILIES["llava"].make(folder, 0)
    made.processor.chat_template = TEMPLATE
    made.processor.save_pretrained(folder)
    port = free_port()
    program = "from transformers.cli.transformers import main; main()"
    command = [
        str(ENVIRONMENT / "bin" / "python"),
        "-c",
        program,
        "serve",
        str(folder),
        "--port",
        str(port),
        "--device",
        "cpu",
    ]
    with running(command, port, folder / "log", HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", PYTHONPATH=""):
        yield f"http://127.0.0.1:{port}/v1"

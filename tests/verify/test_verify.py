"""`foveal verify` as a person runs it, on small checkpoints that the reference library wrote."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from foveal.cli import app
from foveal.verify.cases import CASES
from tests.parity.families import CLIP, llava_family

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = """\
{{ bos_token }}{% for message in messages %}USER: {% set parts = message['content'] %}
{%- if parts is string %}{{ parts }}{% else %}
{%- for part in parts %}{{ '<image>\n' if part['type'] == 'image' else part['text'] }}{% endfor %}
{%- endif %}{% endfor %} ASSISTANT:"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A LLaVA with a chat template and everything else that transformers loads by itself."""
    made = llava_family("Llava", "llama", CLIP).make(tmp_path, 3)
    made.processor.chat_template = TEMPLATE
    made.processor.save_pretrained(tmp_path)
    return tmp_path


def verify(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["verify", str(folder), "--tokens", "6", "--threads", "1", *arguments])


def test_an_exact_checkpoint_agrees_in_every_case(folder: Path) -> None:
    result = verify(folder, "--json")
    report = json.loads(result.stdout)
    assert [case["case"] for case in report["cases"]] == [case.name for case in CASES]
    assert all(case["num_equal"] == 6 and case["difference"] < 1e-4 for case in report["cases"])
    assert (report["agrees"], result.exit_code) == (True, 0)


def test_what_int4_costs_is_shown_and_is_no_agreement(folder: Path) -> None:
    result = verify(folder, "--quantization", "int4")
    assert "differs" in result.stdout
    assert result.exit_code == 1


def test_weights_that_the_two_sides_read_differently_are_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if one of our layers were wrong: transformers is given another last norm."""
    from foveal.verify import theirs

    asked = theirs.ask_theirs

    def with_another_norm(folder: Path, *rest: object) -> object:
        weights = load_file(folder / "model.safetensors")
        name = next(name for name in weights if name.endswith("model.norm.weight"))
        save_file(weights | {name: weights[name] * 1.1}, folder / "model.safetensors", {"format": "pt"})
        return asked(folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(theirs, "ask_theirs", with_another_norm)
    result = verify(folder)
    assert "differs: logprobs" in result.stdout
    assert result.exit_code == 1


def test_a_checkpoint_without_a_template_cannot_be_compared(folder: Path) -> None:
    for file in folder.glob("chat_template*"):
        file.unlink()
    result = verify(folder)
    assert "brings no chat template" in str(result.exception)

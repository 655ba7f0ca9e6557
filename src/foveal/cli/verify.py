"""`foveal verify`: is a checkpoint served exactly? Asks it the same here and in transformers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from foveal.cli import options
from foveal.cli.terminal import progress, show_table, tell
from foveal.config import Layer, load_config
from foveal.errors import FovealError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.verify.compare import Finding

COLUMNS = ("case", "prompt", "of images", "equal tokens", "largest difference", "")


@click.command("verify")
@click.argument("model")
@click.option("--tokens", "num_tokens", type=click.IntRange(1, 512), default=32, show_default=True, help="An answer's.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.01,
    show_default=True,
    help="The largest difference of a logprob that still agrees.",
)
@options.revision
@options.device
@click.option("--dtype", default="float32", show_default=True, help="Of both sides: float32 or bfloat16.")
@click.option("--quantization", default="none", show_default=True, help="Of ours, on a CPU: none, int8 or int4.")
@options.threads
@options.as_json
def command(
    model: str,
    num_tokens: int,
    tolerance: float,
    revision: str | None,
    device: str | None,
    dtype: str,
    quantization: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Compare a checkpoint's answers here and in transformers.

    MODEL is a folder or a hub id. The same pictures and questions are asked on both sides. They agree if prompts are
    equal token for token, logprobs within the tolerance, and greedy tokens equal wherever one is clearly likeliest.
    The exit status is 1 if they do not. Needs transformers: pip install 'foveal[transformers]'.
    """
    if dtype not in ("float32", "bfloat16"):
        raise click.UsageError("--dtype is float32 or bfloat16.")
    engine = {"device": device, "dtype": dtype, "quantization": quantization, "num_threads": threads, "max_num_seqs": 1}
    flags: Layer = {"model": {"path": model, "revision": revision}, "engine": engine, "images": {"num_workers": 0}}
    findings = _findings(flags, num_tokens, dtype)
    _show_json(findings, tolerance) if as_json else _show(findings, tolerance)
    if not all(finding.agrees(tolerance) for finding in findings):
        raise click.exceptions.Exit(1)


def _findings(flags: Layer, num_tokens: int, dtype: str) -> list[Finding]:
    import asyncio

    from foveal.models.hub import local_folder
    from foveal.verify.compare import compare
    from foveal.verify.ours import ask_ours

    config = load_config(None, os.environ, flags)
    _check_transformers()
    folder = local_folder(config.model.path, config.model.revision)
    tell("Asking Foveal ...")
    with progress("Loading") as on_progress:
        ours = asyncio.run(ask_ours(config, folder, num_tokens, on_progress))
    from foveal.verify.theirs import ask_theirs

    tell("Asking transformers ...")
    device = "cpu" if config.engine.device == "auto" else config.engine.device
    theirs = ask_theirs(folder, ours, num_tokens, dtype, device)
    return [compare(case.name, ours[case], theirs[case]) for case in ours]


def _check_transformers() -> None:
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        raise FovealError("foveal verify compares with transformers: pip install 'foveal[transformers]'")


def _show(findings: Sequence[Finding], tolerance: float) -> None:
    rows = [
        (
            finding.case,
            str(finding.num_prompt)
            if finding.same_prompt
            else f"{finding.num_prompt}, theirs {finding.num_their_prompt}",
            str(finding.num_image),
            f"{finding.num_equal} of {finding.num_answer}",
            "-" if finding.difference is None else f"{finding.difference:.1e}",
            _verdict(finding, tolerance),
        )
        for finding in findings
    ]
    show_table(COLUMNS, rows, num_left=1)
    for finding in findings:
        if not finding.agrees(tolerance):
            click.echo(f"\n{finding.case}\n  Foveal:       {finding.text!r}\n  transformers: {finding.their_text!r}")


def _verdict(finding: Finding, tolerance: float) -> str:
    if finding.agrees(tolerance):
        return "agrees" if finding.lead is None else f"agrees: they part at a tie ({finding.lead:.3f})"
    if not finding.same_prompt:
        return "differs: the prompts are not equal"
    if finding.difference is not None and finding.difference > tolerance:
        return "differs: logprobs"
    return f"differs: tokens, at a lead of {finding.lead:.2f}"


def _show_json(findings: Sequence[Finding], tolerance: float) -> None:
    import json
    from dataclasses import asdict

    cases = [asdict(finding) | {"agrees": finding.agrees(tolerance)} for finding in findings]
    click.echo(json.dumps({"agrees": all(case["agrees"] for case in cases), "tolerance": tolerance, "cases": cases}))

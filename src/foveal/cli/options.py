"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

MODEL = (
    "a folder, a hub id such as microsoft/Phi-3-vision-128k-instruct, a GGUF file (model.gguf, or owner/name:Q4_K_M on "
    "the hub), or foveal-mini (default)"
)

mmproj = click.option("--mmproj", metavar="FILE", help="The GGUF file with the model's vision part.")
revision = click.option("--revision", help="Branch, tag or commit of a hub id.")
device = click.option("--device", help="auto, cpu, cuda or cuda:N.")
dtype = click.option("--dtype", help="auto, bfloat16 or float32.")
quantization = click.option("--quantization", help="On a CPU: auto, none, int8 or int4.")
threads = click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="CPU threads of the engine (default: all cores)."
)
config_file = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="A TOML file with settings (docs/configuration.md).",
)
as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")

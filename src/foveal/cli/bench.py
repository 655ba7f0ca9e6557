"""`foveal bench URL`: what a person types, and what the exit status says. The rest is foveal.bench."""

from __future__ import annotations

import re
import secrets
import sys
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foveal.bench.records import Workload
from foveal.errors import ConfigError
from foveal.types import Size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.bench.program import Address, Result

SIZE = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?")
INTERRUPTED = 130  # as a shell says it of a program that SIGINT ended
USUAL = Workload()

option = partial(click.Option, show_default=True)
count = partial(option, type=click.IntRange(min=1), metavar="N")
count_from_0 = partial(option, type=click.IntRange(min=0), metavar="N")
seconds = partial(option, type=click.FloatRange(min=0.001), metavar="S")
api_key_in = partial(click.Option, default="", metavar="KEY", show_envvar=True)
file = partial(option, type=click.Path(path_type=Path), metavar="FILE")

# Fields of `Workload` have their names here, so that most go there as they are (`workload_of`).
SERVER = (
    option(["-m", "--model"], metavar="ID", help="Which model to ask (default: the first that GET models lists)."),
    api_key_in(["--api-key"], envvar="FOVEAL_BENCH_KEY", help="Others see it here: better in the environment."),
)
HOW_FAST = (
    count(["-n", "--requests", "num_requests"], help=f"How many in all (default {USUAL.num_requests})."),
    seconds(["--duration", "duration_s"], help="Start conversations for so many seconds, then finish them."),
    count(["-c", "--concurrency"], help=f"Conversations at once (default {USUAL.concurrency})."),
    option(
        ["--rate", "rate_per_s"],
        type=click.FloatRange(min=0.0001),
        metavar="R",
        help="Start R conversations a second, at random moments (Poisson).",
    ),
    count_from_0(
        ["--warmup", "num_warmup"], default=USUAL.num_warmup, help="Conversations that are asked first and not counted."
    ),
    seconds(["--timeout", "timeout_s"], default=USUAL.timeout_s, help="How long a request may take."),
    count_from_0(
        ["--seed"], help="The same seed sends the same requests, which a server may remember (default: a new one)."
    ),
)
WHAT = (
    count_from_0(["--images", "num_images"], default=USUAL.num_images, help="Pictures of a conversation."),
    option(["--image-size"], metavar="SIZE", default="512x512", help="Pixels: 512, 640x480 or 256x256-1024x768."),
    option(
        ["--image-format"],
        type=click.Choice(["jpeg", "png"]),
        default=USUAL.image_format,
        help="How pictures are sent.",
    ),
    count(
        ["--prompt-tokens", "num_prompt_words"],
        default=USUAL.num_prompt_words,
        help="Words of a question; a common word is about a token.",
    ),
    count(["--max-tokens"], default=USUAL.max_tokens, help="Longest answer."),
    option(["--ignore-eos"], is_flag=True, help="Ask for all of --max-tokens (Foveal, vLLM, llama.cpp)."),
    count(["--turns", "num_turns"], default=USUAL.num_turns, help="Questions about the same pictures, in turn."),
    option(
        ["--shared-prefix", "shared_share"],
        type=click.FloatRange(0, 1),
        metavar="SHARE",
        default=USUAL.shared_share,
        help="Share of conversations that begin like one of a pool.",
    ),
    count(["--pool", "pool_size"], default=USUAL.pool_size, help="Beginnings in that pool."),
    option(["--no-usage"], is_flag=True, help="Send no stream_options: some servers refuse them."),
)
SECOND = (
    option(["--against"], metavar="URL", help="Ask this server the same, in turn with the first."),
    option(["--against-model"], metavar="ID", help="Its model (default: the first that it lists)."),
    api_key_in(["--against-key"], envvar="FOVEAL_BENCH_AGAINST_KEY", help="Its API key."),
    count(
        ["--round", "round_size"],
        help="Conversations before it is the other's turn (default: --concurrency, or 8 with --rate).",
    ),
)
RESULT = (
    file(["--json", "json_file"], help="Write all settings, figures and requests."),
    file(["--plot", "plot_file"], help="Draw a PNG. Needs: pip install 'foveal[bench]'."),
    option(
        ["--expect"],
        metavar="TEXT",
        multiple=True,
        help="Exit with 1 unless it holds: 'ttft.p90<=500' (ms), 'ratio.ttft.p50<1'. Repeat for several.",
    ),
)
SECTIONS = {
    "How much, how fast": HOW_FAST,
    "What is asked": WHAT,
    "A second server": SECOND,
    "What comes out": RESULT,
}


class Sectioned(click.Command):
    """Its help has headings: nobody reads thirty options in a row."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        under_headings = [*chain(*SECTIONS.values())]
        others = [
            each for each in self.get_params(ctx) if isinstance(each, click.Option) and each not in under_headings
        ]
        for heading, options in {"Options": others, **SECTIONS}.items():
            with formatter.section(heading):
                formatter.write_dl([found for each in options if (found := each.get_help_record(ctx))])


@click.command("bench", cls=Sectioned, params=[click.Argument(["url"]), *SERVER, *chain(*SECTIONS.values())])
def command(
    url: str,
    model: str | None,
    api_key: str,
    against: str | None,
    against_model: str | None,
    against_key: str,
    json_file: Path | None,
    plot_file: Path | None,
    expect: tuple[str, ...],
    **asked: Any,
) -> None:
    """Measure how fast a server answers questions about pictures.

    URL is of any server that speaks OpenAI's chat completions, such as http://127.0.0.1:8000. What is sent and what the
    figures mean: docs/benchmarking.md.
    """
    from foveal.bench.program import Address

    workload = workload_of(**asked)
    addresses = [Address(url, model, api_key)]
    if against is not None:
        addresses.append(Address(against, against_model, against_key))
    sys.exit(_bench(addresses, workload, expect, json_file, plot_file))


def workload_of(
    *,
    num_requests: int | None,
    duration_s: float | None,
    concurrency: int | None,
    rate_per_s: float | None,
    seed: int | None,
    image_size: str,
    no_usage: bool,
    **fields: Any,
) -> Workload:
    """Raises ConfigError."""
    if concurrency is not None and rate_per_s is not None:
        raise ConfigError("--concurrency and --rate are two ways to load a server: give one of them")
    smallest, largest = parse_size(image_size)
    return replace(
        USUAL,
        num_requests=USUAL.num_requests if num_requests is None and duration_s is None else num_requests,
        duration_s=duration_s,
        concurrency=concurrency or USUAL.concurrency,
        rate_per_s=rate_per_s,
        seed=secrets.randbelow(1_000_000) if seed is None else seed,
        smallest=smallest,
        largest=largest,
        asks_usage=not no_usage,
        **fields,
    )


def parse_size(text: str) -> tuple[Size, Size]:
    """The smallest and the largest: "512" is a square, "640x480" one size, "256-1024x768" all between two."""
    ends = [SIZE.fullmatch(end) for end in text.split("-")]
    sizes = [Size(int(end[1]), int(end[2] or end[1])) for end in ends if end is not None]
    if len(sizes) != len(ends) or len(ends) > 2:
        raise ConfigError(f"--image-size {text!r}: write 512, 640x480, or a range such as 256x256-1024x768")
    return sizes[0], sizes[-1]


def _bench(
    addresses: Sequence[Address],
    workload: Workload,
    expect: Sequence[str],
    json_file: Path | None,
    plot_file: Path | None,
) -> int:
    """The exit status. What would make a long run useless is found before it."""
    import uvloop

    from foveal.bench import expectations, export, program, show
    from foveal.bench.plot import check_matplotlib, write_plot

    expected = [expectations.parse(text, has_ratios=len(addresses) > 1) for text in expect]
    for path in (json_file, plot_file):
        _check_folder(path)
    if plot_file is not None:
        check_matplotlib()
    result = uvloop.run(program.measure(addresses, workload, expected))
    show.show(result)
    if json_file is not None:
        export.write_json(result, json_file)
    if plot_file is not None:
        write_plot(result, plot_file)
    return _status(result)


def _check_folder(path: Path | None) -> None:
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise ConfigError(f"{path} cannot be written: name a file in a folder that is there")


def _status(result: Result) -> int:
    """1 if a server answered nothing or an expectation does not hold."""
    if result.run.is_cut:
        return INTERRUPTED
    return int(bool(result.failures) or any(report.num_answered == 0 for report in result.reports))

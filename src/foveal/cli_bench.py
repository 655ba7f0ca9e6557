"""`foveal bench URL`: what a person types, and what the exit status says. The rest is foveal.bench."""

from __future__ import annotations

import re
import secrets
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.errors import ConfigError
from foveal.types import Size

if TYPE_CHECKING:
    from foveal.bench.program import Address, Result
    from foveal.bench.records import Workload

SIZE = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?")
INTERRUPTED = 130  # as a shell says it of a program that SIGINT ended
DEFAULT_REQUESTS = 32

LOAD, REQUEST, SECOND, OUTPUT = "How much, how fast", "What is asked", "A second server", "What comes out"


class ImageFormat(StrEnum):
    jpeg = "jpeg"
    png = "png"


Url = Annotated[str, typer.Argument(help="Such as http://127.0.0.1:8000, with or without /v1.")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Default: the first that GET models lists.")]
Key = Annotated[
    str,
    typer.Option(envvar="FOVEAL_BENCH_KEY", show_envvar=True, help="Better in the environment: others see it here."),
]
Requests = Annotated[
    int | None,
    typer.Option("--requests", "-n", min=1, rich_help_panel=LOAD, help=f"In all. Default: {DEFAULT_REQUESTS}."),
]
Duration = Annotated[
    float | None,
    typer.Option(min=0.001, rich_help_panel=LOAD, help="Seconds in which conversations start; then they are finished."),
]
Concurrency = Annotated[
    int | None,
    typer.Option("--concurrency", "-c", min=1, rich_help_panel=LOAD, help="Conversations at once. Default: 1."),
]
Rate = Annotated[
    float | None,
    typer.Option(min=0.0001, rich_help_panel=LOAD, help="Conversations that start in a second, at random (Poisson)."),
]
Warmup = Annotated[int, typer.Option(min=0, rich_help_panel=LOAD, help="Requests that are sent first and not counted.")]
Seed = Annotated[
    int | None,
    typer.Option(
        min=0, rich_help_panel=LOAD, help="The same seed sends the same requests; a server may know them. Default: new."
    ),
]
Timeout = Annotated[float, typer.Option(min=0.001, rich_help_panel=LOAD, help="Seconds that a request may take.")]
Images = Annotated[int, typer.Option(min=0, rich_help_panel=REQUEST, help="Pictures of a conversation.")]
ImageSize = Annotated[
    str, typer.Option(rich_help_panel=REQUEST, help="Pixels: 512, 640x480, or a range such as 256x256-1024x768.")
]
Format = Annotated[ImageFormat, typer.Option("--image-format", rich_help_panel=REQUEST)]
PromptTokens = Annotated[
    int, typer.Option(min=1, rich_help_panel=REQUEST, help="Words of a question; a common word is about a token.")
]
MaxTokens = Annotated[int, typer.Option(min=1, rich_help_panel=REQUEST, help="Longest answer.")]
IgnoreEos = Annotated[
    bool,
    typer.Option("--ignore-eos", rich_help_panel=REQUEST, help="Ask for max-tokens whole (Foveal, vLLM, llama.cpp)."),
]
Turns = Annotated[int, typer.Option(min=1, rich_help_panel=REQUEST, help="Questions about the same pictures, in turn.")]
SharedPrefix = Annotated[
    float,
    typer.Option(min=0, max=1, rich_help_panel=REQUEST, help="Share of conversations that begin like one of a pool."),
]
Pool = Annotated[int, typer.Option(min=1, rich_help_panel=REQUEST, help="Beginnings that are shared.")]
NoUsage = Annotated[
    bool, typer.Option("--no-usage", rich_help_panel=REQUEST, help="Send no stream_options: some servers refuse them.")
]
Against = Annotated[
    str | None,
    typer.Option(metavar="URL", rich_help_panel=SECOND, help="Asked the same requests, in turn with the first."),
]
AgainstModel = Annotated[str | None, typer.Option(rich_help_panel=SECOND, help="Default: the first that it lists.")]
AgainstKey = Annotated[str, typer.Option(envvar="FOVEAL_BENCH_AGAINST_KEY", show_envvar=True, rich_help_panel=SECOND)]
Round = Annotated[
    int | None,
    typer.Option(
        "--round",
        min=1,
        rich_help_panel=SECOND,
        help="Conversations before it is the other's turn. Default: --concurrency, with --rate 8.",
    ),
]
Json = Annotated[
    Path | None, typer.Option("--json", rich_help_panel=OUTPUT, help="All settings, figures and requests.")
]
Plot = Annotated[Path | None, typer.Option(rich_help_panel=OUTPUT, help="A PNG (needs 'foveal\\[bench]').")]
Expect = Annotated[
    list[str] | None,
    typer.Option(
        rich_help_panel=OUTPUT, help="Exit with 1 unless it holds: 'ttft.p90<=500' (ms), 'ratio.ttft.p50<1'; repeat."
    ),
]


def bench(
    url: Url,
    model: Model = None,
    api_key: Key = "",
    requests: Requests = None,
    duration: Duration = None,
    concurrency: Concurrency = None,
    rate: Rate = None,
    warmup: Warmup = 2,
    seed: Seed = None,
    timeout: Timeout = 600.0,
    images: Images = 1,
    image_size: ImageSize = "512x512",
    image_format: Format = ImageFormat.jpeg,
    prompt_tokens: PromptTokens = 32,
    max_tokens: MaxTokens = 64,
    ignore_eos: IgnoreEos = False,
    turns: Turns = 1,
    shared_prefix: SharedPrefix = 0.0,
    pool: Pool = 4,
    no_usage: NoUsage = False,
    against: Against = None,
    against_model: AgainstModel = None,
    against_key: AgainstKey = "",
    round_size: Round = None,
    json: Json = None,
    plot: Plot = None,
    expect: Expect = None,
) -> None:
    """Load any OpenAI-compatible server with questions about pictures, and say how fast it answers."""
    if concurrency is not None and rate is not None:
        raise ConfigError("--concurrency and --rate are two ways to load a server: give one of them")
    from foveal.bench.program import Address
    from foveal.bench.records import Workload

    smallest, largest = parse_size(image_size)
    workload = Workload(
        num_requests=DEFAULT_REQUESTS if requests is None and duration is None else requests,
        duration_s=duration,
        concurrency=concurrency or 1,
        rate_per_s=rate,
        num_images=images,
        smallest=smallest,
        largest=largest,
        image_format=image_format.value,
        num_prompt_words=prompt_tokens,
        max_tokens=max_tokens,
        num_turns=turns,
        shared_share=shared_prefix,
        pool_size=pool,
        num_warmup=warmup,
        round_size=round_size,
        seed=secrets.randbelow(1_000_000) if seed is None else seed,
        ignore_eos=ignore_eos,
        asks_usage=not no_usage,
        timeout_s=timeout,
    )
    addresses = [Address(url, model, api_key)]
    if against is not None:
        addresses.append(Address(against, against_model, against_key))
    raise typer.Exit(_bench(addresses, workload, expect or [], json, plot))


def parse_size(text: str) -> tuple[Size, Size]:
    """The smallest and the largest: "512" is a square, "640x480" one size, "256-1024x768" all between two."""
    ends = [SIZE.fullmatch(end) for end in text.split("-")]
    sizes = [Size(int(end[1]), int(end[2] or end[1])) for end in ends if end is not None]
    if len(sizes) != len(ends) or len(ends) > 2:
        raise ConfigError(f"--image-size {text!r}: write 512, 640x480, or a range such as 256x256-1024x768")
    return sizes[0], sizes[-1]


def _bench(
    addresses: list[Address], workload: Workload, expect: list[str], json: Path | None, plot: Path | None
) -> int:
    """The exit status. What would make a long run useless is found before it."""
    import uvloop

    from foveal.bench import expectations, export, program, show
    from foveal.bench.plot import check_matplotlib, write_plot

    expected = [expectations.parse(text, has_ratios=len(addresses) > 1) for text in expect]
    for path in (json, plot):
        _check_folder(path)
    if plot is not None:
        check_matplotlib()
    result = uvloop.run(program.measure(addresses, workload, expected))
    show.show(result)
    if json is not None:
        export.write_json(result, json)
    if plot is not None:
        write_plot(result, plot)
    return _status(result)


def _check_folder(path: Path | None) -> None:
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise ConfigError(f"{path} cannot be written: name a file in a folder that is there")


def _status(result: Result) -> int:
    """1 if a server answered nothing or an expectation does not hold."""
    if result.run.is_cut:
        return INTERRUPTED
    return int(bool(result.failures) or any(report.num_answered == 0 for report in result.reports))

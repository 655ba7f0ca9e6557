"""Shows a run on the terminal: a progress bar while it runs, tables at the end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from foveal.bench.ratios import MIN_ROUNDS, answers_differ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from foveal.bench.program import Result
    from foveal.bench.records import Distribution, Ratio, Report, Workload

WIDE = 120  # columns, where the output is no terminal
BUSY = 0.7  # of a core; beyond it, the generator's own speed may limit the result
WAITED = 0.05  # of the time of all conversations, for pictures; beyond it, the load was lower than configured
LATE_MS = 10.0  # the generator's lateness, beyond which a note is shown
TIMES = (
    ("time to first token", "ttft"),
    ("time per output token", "tpot"),
    ("gap between chunks", "gap"),
    ("end to end", "e2e"),
    ("sent late by", "lag"),
)
RATIO_NAMES = {
    "ttft.p50": "time to first token, p50",
    "ttft.p90": "time to first token, p90",
    "tpot.p50": "time per output token, p50",
    "longest_gap.p50": "longest gap of an answer, p50",
    "e2e.p50": "end to end, p50",
    "e2e.p90": "end to end, p90",
    "requests_per_s": "requests/s",
    "output_tokens_per_s": "output tokens/s",
}


def out() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[str], None]]:
    """A bar on stderr, removed at the end. Call what is yielded for each item, with the text to show beside it."""
    console = Console(stderr=True, highlight=False)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[news]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total, news="")
        yield lambda news: bar.update(task, advance=1, news=news)


def summary(workload: Workload) -> str:
    """The workload in one line."""
    small, large = workload.smallest, workload.largest
    size = f"{small.width}x{small.height}" + ("" if small == large else f" to {large.width}x{large.height}")
    pictures = (
        f"{workload.num_images} x {size} {workload.image_format.upper()}" if workload.num_images else "no pictures"
    )
    pace = f"{workload.concurrency} at once" if workload.rate_per_s is None else f"{workload.rate_per_s:g} a second"
    parts = [pace, pictures, f"about {workload.num_prompt_words} words", f"at most {workload.max_tokens} tokens"]
    if workload.num_turns > 1:
        parts.append(f"{workload.num_turns} turns")
    if workload.shared_share:
        parts.append(f"{workload.shared_share:.0%} begin like one of {workload.pool_size}")
    return ", ".join([*parts, f"seed {workload.seed}"])


def show(result: Result) -> None:
    console = out()
    console.print(result.summary, soft_wrap=True)
    for server, report in zip(result.servers, result.reports, strict=True):
        console.print(f"\n[bold]{server.url}[/bold]  {server.model}", soft_wrap=True)
        console.print(_times(report))
        console.print(_counts(report))
        for kind, count in report.errors:
            console.print(f"  {count:,} x {kind}", style="red", markup=False)
    if len(result.servers) > 1:
        console.print(_ratios(result))
    for note in _notes(result):
        console.print(note, style="yellow", markup=False)
    for failure in result.failures:
        console.print(f"expected {failure}", style="red", markup=False)


def _times(report: Report) -> Table:
    table = Table("ms", box=None, header_style="bold", padding=(0, 2))
    for column in ("p50", "p90", "p99", "mean", "max", "of"):
        table.add_column(column, justify="right")
    for name, key in TIMES:
        found: Distribution | None = getattr(report, key)
        if found is not None:
            table.add_row(name, *_cells(found))
        if key == "ttft":
            for kind, of_kind in report.ttft_of:
                table.add_row(f"  {kind}", *_cells(of_kind))
    return table


def _cells(found: Distribution) -> list[str]:
    values = (found.p50, found.p90, found.p99, found.mean, found.max)
    return [*(milliseconds(value) for value in values), f"{found.count:,}"]


def _counts(report: Report) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_row("requests", _requests(report), f"{report.requests_per_s:,.2f}/s")
    counted = "" if report.tokens_counted_by == "usage" else " (chunks counted, usage was not given)"
    table.add_row("output", f"{report.output_tokens:,} tokens{counted}", f"{report.output_tokens_per_s:,.1f}/s")
    if report.prompt_tokens is not None and report.prompt_tokens_per_s is not None:
        cached = "" if report.cached_tokens is None else f", {report.cached_tokens:,} of them cached"
        table.add_row("prompt", f"{report.prompt_tokens:,} tokens{cached}", f"{report.prompt_tokens_per_s:,.1f}/s")
    return table


def _requests(report: Report) -> str:
    answered = f"{report.num_answered:,} answered in {report.busy_s:,.1f} s"
    failed = f"{report.num_failed:,} failed ({report.error_share:.1%})"
    return f"{answered}, [red]{failed}[/red]" if report.num_failed else f"{answered}, {failed}"


def _ratios(result: Result) -> Table:
    first, second = result.servers
    table = Table(
        "ratio",
        "",
        "95 % interval",
        "",
        title=f"\n{first.url} divided by {second.url}",
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="bold",
        padding=(0, 2),
    )
    for ratio in result.ratios:
        table.add_row(RATIO_NAMES[ratio.name], f"{ratio.value:.3f}", _interval(ratio), verdict(ratio))
    return table


def _interval(ratio: Ratio) -> str:
    if ratio.low is None or ratio.high is None:
        return f"none: fewer than {MIN_ROUNDS} rounds"
    return f"{ratio.low:.3f} to {ratio.high:.3f}"


def verdict(ratio: Ratio) -> str:
    """Whether the first server is better, as far as the interval says."""
    if ratio.low is None or ratio.high is None:
        return ""
    if ratio.low <= 1 <= ratio.high:
        return "no clear difference"
    is_better = (ratio.high < 1) if ratio.is_time else (ratio.low > 1)
    return "[green]better[/green]" if is_better else "[red]worse[/red]"


def milliseconds(time_s: float) -> str:
    value = 1000 * time_s
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _notes(result: Result) -> Iterator[str]:
    """What a reader has to know to trust the figures."""
    if result.run.is_cut:
        yield "Interrupted: requests that were under way are not counted."
    for server, report in zip(result.servers, result.reports, strict=True):
        if report.num_without_text:
            yield f"{server.url}: {report.num_without_text:,} answers had no text, and so no time to first token."
        if report.lag is not None and 1000 * report.lag.p99 > LATE_MS:
            yield f"{server.url}: 1 % of requests were sent {milliseconds(report.lag.p99)} ms late or later (counted)."
    if len(result.reports) > 1 and answers_differ(result.reports):
        yield "Answers differ in length, so end-to-end times and requests/s do not compare; try --ignore-eos."
    if result.run.cpu_share > BUSY:
        yield f"The load generator used {result.run.cpu_share:.0%} of a core: its own speed may be what was measured."
    if result.run.waited_s > WAITED * sum(report.busy_s for report in result.reports) * result.workload.concurrency:
        yield f"Requests waited {result.run.waited_s:.1f} s for pictures to be drawn: name their number (--requests)."

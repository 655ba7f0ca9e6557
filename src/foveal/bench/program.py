"""A run, from its settings to its result: find the servers, draw pictures, warm up, measure.

Ctrl-C ends the measurement, and what was measured until then is the result.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from foveal.bench import conversations, show, timing
from foveal.bench.client import Asker, open_client
from foveal.bench.clock import MonotonicClock
from foveal.bench.errors import Refused
from foveal.bench.expectations import Expectation, failures
from foveal.bench.ratios import ratios_of
from foveal.bench.records import Ratio, Report, Run, Sample, Server, Workload
from foveal.bench.report import report_of
from foveal.bench.run import Log, run
from foveal.bench.server import find
from foveal.bench.stock import ahead, drawn_ahead
from foveal.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from foveal.bench.records import Conversation
    from foveal.bench.stock import Stock


@dataclass(frozen=True, slots=True)
class Address:
    """A server, as it was named on the command line."""

    url: str
    model: str | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run: what tables, JSON and plot are made from."""

    workload: Workload
    servers: tuple[Server, ...]
    date: datetime
    run: Run
    reports: tuple[Report, ...]
    ratios: tuple[Ratio, ...]
    failures: tuple[str, ...]  # expectations that do not hold

    @property
    def summary(self) -> str:
        return show.summary(self.workload)


async def measure(addresses: Sequence[Address], workload: Workload, expectations: Sequence[Expectation] = ()) -> Result:
    """Raises BenchError for a server that cannot be asked, ConfigError for a workload that cannot be run."""
    conversations.check(workload)
    clock, date = MonotonicClock(), datetime.now(UTC)
    servers = tuple([await find(address.url, address.model, address.key, clock) for address in addresses])
    if len({server.url for server in servers}) < len(servers):
        raise ConfigError("both URLs are one server: it would answer the second time from its caches")
    async with AsyncExitStack() as closing:
        clients = [await closing.enter_async_context(open_client(each, workload.timeout_s)) for each in servers]
        askers = [Asker(client, each, workload, clock) for client, each in zip(clients, servers, strict=True)]
        measured = await _measure(askers, workload)
    return _result(workload, servers, date, measured, expectations)


def _result(
    workload: Workload, servers: tuple[Server, ...], date: datetime, measured: Run, expectations: Sequence[Expectation]
) -> Result:
    has_rate = workload.rate_per_s is not None
    reports = tuple(
        report_of(samples, rounds, has_rate=has_rate)
        for samples, rounds in zip(measured.samples, measured.rounds, strict=True)
    )
    ratios = ratios_of(measured, workload.seed) if len(servers) > 1 else ()
    return Result(workload, servers, date, measured, reports, ratios, tuple(failures(expectations, reports[0], ratios)))


async def _measure(askers: Sequence[Asker], workload: Workload) -> Run:
    num_ahead = ahead(workload)
    async with AsyncExitStack() as closing:
        with show.progress("Drawing pictures", num_ahead) as drawn:
            drawing = drawn_ahead(conversations.measured(workload), num_ahead, askers[0].clock, lambda: drawn(""))
            stock = await closing.enter_async_context(drawing)
        for asker in askers:
            await _warm_up(asker, workload)
        return await _measure_from(stock, askers, workload)


async def _warm_up(asker: Asker, workload: Workload) -> None:
    """Open connections, let the server do what it does once, and let its caches take in the pool."""
    plan = conversations.warmup(workload)
    total = workload.num_warmup + (workload.pool_size if workload.num_warmup and workload.shared_share else 0)
    with show.progress(f"Warming up {asker.server.url}", total) as further:
        log = Log.of(1, lambda _, sample: further(sample.error or ""))

        async def take() -> Conversation | None:
            return next(plan, None)

        await run([asker], replace(workload, duration_s=None, rate_per_s=None), take, asker.clock, log)
    errors = [sample.error for sample in log.samples[0]]
    if errors and all(errors):
        raise Refused(f"{asker.server.url} answers none of the requests that this run would send: {errors[0]}")


async def _measure_from(stock: Stock, askers: Sequence[Asker], workload: Workload) -> Run:
    total = None if workload.num_requests is None else workload.num_requests * len(askers)
    with show.progress("Measuring", total) as further:
        news = _News()
        log = Log.of(len(askers), lambda _, sample: further(news.with_one_more(sample)))
        started_s, cpu_s = time.perf_counter(), time.process_time()
        is_cut = await _interruptible(run(askers, workload, stock.take, askers[0].clock, log))
        cpu_share = (time.process_time() - cpu_s) / (time.perf_counter() - started_s)
    return Run(tuple(map(tuple, log.samples)), tuple(map(tuple, log.rounds)), is_cut, cpu_share, stock.waited_s)


async def _interruptible(work: Coroutine[None, None, None]) -> bool:
    """Whether Ctrl-C ended it. A second one ends the program."""
    loop, working, is_cut = asyncio.get_running_loop(), asyncio.ensure_future(work), False

    def cut() -> None:
        nonlocal is_cut
        is_cut = working.cancel()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, cut)
    try:
        await working
    except asyncio.CancelledError:
        if not is_cut:
            raise
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    return is_cut


class _News:
    """The text beside the progress bar: failures, and the last time to the first token."""

    def __init__(self) -> None:
        self._num_failed = 0

    def with_one_more(self, sample: Sample) -> str:
        self._num_failed += sample.error is not None
        failed = f"[red]{self._num_failed:,} failed[/red]  " if self._num_failed else ""
        first_s = timing.ttft_s(sample)
        return failed + ("" if first_s is None else f"first token {show.milliseconds(first_s)} ms")

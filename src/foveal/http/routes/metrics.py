"""GET /metrics: the counts of all stages in Prometheus' text format.

The stages keep plain numbers, which become metrics here at each request. So no other module knows the format, and the
first request imports its library. No label holds text from a client. Where several models are served, the metrics of
a model have the label `model`.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from starlette.responses import Response

from foveal.errors import RequestError
from foveal.http.endpoint import Docs, Endpoint
from foveal.workers.memory import resident_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from prometheus_client.core import HistogramMetricFamily, Metric
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from foveal.accounting.totals import Totals
    from foveal.engine_client.client import EngineClient
    from foveal.http.endpoint import Context
    from foveal.media.stats import ImageStats
    from foveal.serving.served import Served
    from foveal.telemetry import Histogram

T = TypeVar("T")
Labels = tuple[str, ...]
"""The values of a sample's labels: its model's id, or nothing where only one is served."""


async def show_metrics(request: Request, context: Context) -> ASGIApp:
    """What the server did since its start. For the operator: with keys, it takes one of the operator's."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(context))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


ENDPOINT = Endpoint(
    "/metrics",
    show_metrics,
    access="operator",  # it tells of all callers together
    docs=Docs("health", {"text/plain": {}}, "Prometheus' text format.", errors=(401, 403)),
    is_routine=True,
)


class _Collector:
    """prometheus_client calls `collect` for each reading."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def collect(self) -> Iterator[Metric]:
        yield _labelled(
            "foveal_http_requests",
            "Requests by route and status.",
            ("route", "status"),
            {(route, str(status)): count for (route, status), count in self.context.traffic.counts.items()},
        )
        yield from _of_answers(self.context.totals)
        yield _memory()
        served = dict(_by_labels(list(self.context.models)))
        yield _gauge("foveal_ready", "1 if the model can be asked now.", served, _is_ready)
        vitals = {labels: each.vitals for labels, each in served.items()}
        yield from _of_images({labels: each.images for labels, each in vitals.items()})
        yield from _of_engines({labels: each.engine for labels, each in vitals.items() if each.engine is not None})


def _by_labels(models: Sequence[Served]) -> Iterator[tuple[Labels, Served]]:
    for served in models:
        yield (() if len(models) == 1 else (served.card.id,)), served


def _is_ready(served: Served) -> bool:
    try:
        served.check_ready()
    except RequestError:
        return False
    engine = served.vitals.engine
    return engine is None or engine.is_ready


def _memory() -> Metric:
    found: dict[Labels, int] = {(name,): num_bytes for name, num_bytes in resident_bytes().items()}
    return _gauge(
        "foveal_resident_bytes", "Memory of the server's processes, file pages included.", found, float, ("process",)
    )


def _of_answers(totals: Totals) -> Iterator[Metric]:
    """Metrics of all models together."""
    yield _labelled(
        "foveal_answers",
        "Answers that ended, by how they ended.",
        ("status",),
        {(status,): totals.by_status[status] for status in ("finished", "failed", "aborted")},
    )
    of_all: Mapping[Labels, Totals] = {(): totals}
    yield _counter("foveal_prompt_tokens", "Prompt tokens, images included.", of_all, lambda t: t.prompt_tokens)
    yield _counter(
        "foveal_cached_prompt_tokens",
        "Prompt tokens that came from the prefix cache.",
        of_all,
        lambda t: t.cached_tokens,
    )
    yield _counter("foveal_image_tokens", "Image tokens, as usage counts them.", of_all, lambda t: t.image_tokens)
    yield _counter("foveal_completion_tokens", "Generated tokens.", of_all, lambda t: t.completion_tokens)
    yield _histogram(
        "foveal_time_to_first_token_seconds",
        "From a request to its first piece of text.",
        of_all,
        lambda t: t.first_token_s,
    )
    yield _histogram(
        "foveal_time_per_output_token_seconds",
        "Mean time for each token of an answer after the first.",
        of_all,
        lambda t: t.token_s,
    )


def _of_images(images: Mapping[Labels, ImageStats]) -> Iterator[Metric]:
    yield _counter("foveal_images", "Images of requests.", images, lambda i: i.num_images)
    yield _counter("foveal_image_cache_hits", "Images that were decoded already.", images, lambda i: i.num_hits)
    yield _counter(
        "foveal_url_cache_hits", "Image URLs whose bytes were there already.", images, lambda i: i.num_url_hits
    )
    yield _counter("foveal_image_fetch_failures", "Downloads that failed.", images, lambda i: i.num_fetch_failures)
    yield _counter(
        "foveal_image_decode_failures", "Images that could not be read.", images, lambda i: i.num_decode_failures
    )
    yield _histogram("foveal_image_fetch_seconds", "Downloads.", images, lambda i: i.fetch_s)
    yield _histogram(
        "foveal_image_decode_seconds", "Decoding and preparation, with the wait for it.", images, lambda i: i.decode_s
    )


def _of_engines(engines: Mapping[Labels, EngineClient]) -> Iterator[Metric]:
    if not engines:
        return
    alive = {labels: engine for labels, engine in engines.items() if engine.is_ready}  # a dead one holds nothing
    yield _counter("foveal_generated_tokens", "Generated tokens, as they come.", engines, lambda e: e.num_tokens)
    yield _gauge("foveal_running_sequences", "Sequences that are being computed.", alive, lambda e: e.stats.num_running)
    yield _gauge("foveal_waiting_sequences", "Sequences that wait for room.", alive, lambda e: e.stats.num_waiting)
    yield _gauge("foveal_kv_blocks", "Blocks of the KV cache.", alive, lambda e: e.info.num_blocks)
    yield _gauge("foveal_kv_blocks_used", "Blocks that sequences hold.", alive, lambda e: e.stats.num_used_blocks)
    yield _gauge(
        "foveal_kv_blocks_idle",
        "Blocks that hold what may be asked for again.",
        alive,
        lambda e: e.stats.num_idle_blocks,
    )
    yield _counter(
        "foveal_preemptions",
        "Sequences whose blocks were taken for others.",
        engines,
        lambda e: e.stats.num_preemptions,
    )
    yield _counter(
        "foveal_encoded_crops", "Crops of images that were encoded.", engines, lambda e: e.stats.num_encoded_crops
    )
    yield _counter(
        "foveal_engine_restarts", "Engines that died or hung and were replaced.", engines, lambda e: e.num_restarts
    )


# --- the library's shapes ---------------------------------------------------------------------------------------------


def _counter(name: str, text: str, found: Mapping[Labels, T], value: Callable[[T], float]) -> Metric:
    return _labelled(name, text, _label_names(found), {labels: value(each) for labels, each in found.items()})


def _gauge(
    name: str, text: str, found: Mapping[Labels, T], value: Callable[[T], float], label_names: Labels | None = None
) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, text, labels=_label_names(found) if label_names is None else label_names)
    for labels, each in found.items():
        family.add_metric(labels, value(each))
    return family


def _labelled(name: str, text: str, names: Labels, counts: Mapping[Labels, float]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=names)
    for labels, count in counts.items():
        family.add_metric(labels, count)
    return family


def _histogram(
    name: str, text: str, found: Mapping[Labels, T], value: Callable[[T], Histogram]
) -> HistogramMetricFamily:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, text, labels=_label_names(found))
    for labels, each in found.items():
        histogram = value(each)
        bounds = [*map(str, histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        family.add_metric(labels, buckets, histogram.total)
    return family


def _label_names(found: Mapping[Labels, object]) -> Labels:
    return ("model",) if any(found) else ()

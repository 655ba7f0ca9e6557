"""GET /metrics: what the stages count of themselves, in Prometheus' text format.

The stages keep plain numbers; they become metrics here, when someone asks. So nobody else knows the format, and its
library is imported by the first who asks. No label holds what a client made up: routes are those of the application.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response

from foveal.http.problems import problem_docs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import HistogramMetricFamily, Metric
    from starlette.types import Scope

    from foveal.accounting.totals import Totals
    from foveal.engine_client.client import EngineClient
    from foveal.http.contract import Pipeline
    from foveal.media.stats import ImageStats
    from foveal.telemetry import Histogram

NO_ROUTE = "none"
PREFIX = re.compile(r"^(/inference)?(/v1)+(?=/)")  # all of them lead to the same routes


class Traffic:
    """Requests by route and status."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, int]] = Counter()

    def count(self, scope: Scope, status: int) -> None:
        """A request that has ended. The router leaves in `scope` the route that it took, if it took one."""
        route: str = getattr(scope.get("route"), "path", NO_ROUTE)
        self.counts[PREFIX.sub("", route), status] += 1


def metrics_routes(traffic: Traffic, pipeline: Pipeline) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get(
        "/metrics",
        response_class=Response,
        responses={
            200: {"description": "Prometheus' text format.", "content": {"text/plain": {}}},
            **problem_docs(401, 403),
        },
    )
    async def show_metrics() -> Response:
        """What the server did since its start. For the operator: with keys, it takes one of the operator's."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(traffic, pipeline))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


class _Collector:
    """What the library asks for metrics."""

    def __init__(self, traffic: Traffic, pipeline: Pipeline) -> None:
        self.traffic = traffic
        self.pipeline = pipeline

    def collect(self) -> Iterator[Metric]:
        vitals = self.pipeline.vitals
        yield _labelled(
            "foveal_http_requests",
            "Requests by route and status.",
            ("route", "status"),
            {(route, str(status)): count for (route, status), count in self.traffic.counts.items()},
        )
        yield from _of_answers(vitals.totals)
        yield from _of_images(vitals.images)
        if vitals.engine is not None:
            yield from _of_engine(vitals.engine)


def _of_answers(totals: Totals) -> Iterator[Metric]:
    yield _labelled(
        "foveal_answers",
        "Answers that ended, by how they ended.",
        ("status",),
        {(status,): totals.by_status[status] for status in ("finished", "failed", "aborted")},
    )
    yield _counter("foveal_prompt_tokens", "Prompt tokens, images included.", totals.prompt_tokens)
    yield _counter(
        "foveal_cached_prompt_tokens", "Prompt tokens that were found in the prefix cache.", totals.cached_tokens
    )
    yield _counter("foveal_image_tokens", "What images were to the model, in tokens.", totals.image_tokens)
    yield _counter("foveal_completion_tokens", "Generated tokens.", totals.completion_tokens)
    yield _histogram(
        "foveal_time_to_first_token_seconds", "From a request to its first piece of text.", totals.first_token_s
    )
    yield _histogram(
        "foveal_time_per_output_token_seconds", "Mean time for each token of an answer after the first.", totals.token_s
    )


def _of_images(images: ImageStats) -> Iterator[Metric]:
    yield _counter("foveal_images", "Images of requests.", images.num_images)
    yield _counter("foveal_image_cache_hits", "Images that were decoded already.", images.num_hits)
    yield _counter("foveal_url_cache_hits", "Image URLs whose bytes were there already.", images.num_url_hits)
    yield _counter("foveal_image_fetch_failures", "Downloads that failed.", images.num_fetch_failures)
    yield _counter("foveal_image_decode_failures", "Images that could not be read.", images.num_decode_failures)
    yield _histogram("foveal_image_fetch_seconds", "Downloads.", images.fetch_s)
    yield _histogram("foveal_image_decode_seconds", "Decoding and preparation, with the wait for it.", images.decode_s)


def _of_engine(engine: EngineClient) -> Iterator[Metric]:
    info, stats = engine.info, engine.stats
    yield _gauge("foveal_running_sequences", "Sequences that are being computed.", stats.num_running)
    yield _gauge("foveal_waiting_sequences", "Sequences that wait for room.", stats.num_waiting)
    yield _gauge("foveal_kv_blocks", "Blocks of the KV cache.", info.num_blocks)
    yield _gauge("foveal_kv_blocks_used", "Blocks that sequences hold.", stats.num_used_blocks)
    yield _gauge("foveal_kv_blocks_idle", "Blocks that hold what may be asked for again.", stats.num_idle_blocks)
    yield _counter("foveal_preemptions", "Sequences that lost their blocks to others.", stats.num_preemptions)
    yield _counter("foveal_encoded_crops", "Crops of images that were encoded.", stats.num_encoded_crops)
    yield _counter("foveal_engine_restarts", "Engines that died or hung and were replaced.", engine.num_restarts)


# --- the library's shapes ---------------------------------------------------------------------------------------------


def _counter(name: str, text: str, value: float) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(name, text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(name, text, value=value)


def _labelled(name: str, text: str, labels: tuple[str, ...], counts: dict[tuple[str, ...], int]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    from prometheus_client.core import HistogramMetricFamily

    bounds = [*map(str, histogram.bounds), "+Inf"]
    return HistogramMetricFamily(
        name, text, buckets=list(zip(bounds, accumulate(histogram.counts), strict=True)), sum_value=histogram.total
    )

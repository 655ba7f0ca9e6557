"""Sends traces over OTLP, by OpenTelemetry's SDK: the one module that imports it, and only if traces are wanted.

A request is a span of the server with attributes by the conventions for HTTP. An answer is a span within it, by those
for generative AI, and its stages are spans within that. They are made when the request has ended, from times that are
known then, and sent by a thread of the SDK (docs/decisions/099-traces-are-made-at-the-end.md).
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from foveal import __version__
from foveal.errors import ConfigError
from foveal.types import ChatRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span

    from foveal.http.dialects.answers import Answers
    from foveal.http.middleware.tracing import Trace

    Value = str | bool | int | float | Sequence[str]
    Attributes = dict[str, Value]

EXPORT_TIMEOUT_S = 2.0  # of one attempt, also the last one when the server stops
logger = logging.getLogger(__name__)

METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


class Spans:
    """A Tracer. Must be closed, which sends what is left."""

    def __init__(self, endpoint: str) -> None:
        if not endpoint.startswith(("http://", "https://")):
            raise ConfigError(f"traces.endpoint is {endpoint}; it has to be a URL, such as http://127.0.0.1:4318")
        ours = Resource.create({"service.name": "foveal", "service.version": __version__})
        self._provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()))
        self._provider.add_span_processor(BatchSpanProcessor(_Exporter(f"{endpoint.rstrip('/')}/v1/traces")))
        self._tracer = self._provider.get_tracer("foveal", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def record(self, trace: Trace) -> str:
        """See Tracer. A client's traceparent is the parent, and its decision whether to sample holds."""
        zero_ns = time.time_ns() - time.monotonic_ns()
        parent = self._propagator.extract(trace.headers)
        request = self._begin(_name(trace), trace.started_s, zero_ns, parent, SpanKind.SERVER)
        request.set_attributes(dict(_of_request(trace)))
        if trace.status >= 500 or trace.status == 0:
            request.set_status(Status(StatusCode.ERROR))
        if request.is_recording():
            self._add_parts(trace, zero_ns, set_span_in_context(request, parent))
        request.end(_ns(trace.ended_s, zero_ns))
        return format_trace_id(request.get_span_context().trace_id)

    def close(self) -> None:
        self._provider.shutdown()

    def _add_parts(self, trace: Trace, zero_ns: int, parent: Context) -> None:
        if trace.answers is not None and trace.model is not None:
            attributes = dict(_of_answers(trace.answers, trace.model))
            name = f"{attributes['gen_ai.operation.name']} {trace.model}"
            answer = self._begin(name, trace.started_s, zero_ns, parent)
            answer.set_attributes(attributes)
            if "error.type" in attributes:
                answer.set_status(Status(StatusCode.ERROR))
            parent = set_span_in_context(answer, parent)
            answer.end(_ns(trace.ended_s, zero_ns))
        for stage in trace.stages:
            part = self._begin(stage.name, stage.started_s, zero_ns, parent)
            part.set_attributes({f"foveal.{name}": value for name, value in stage.facts.items()})
            if stage.failure is not None:
                part.set_attribute("error.type", stage.failure)
                part.set_status(Status(StatusCode.ERROR))
            part.end(_ns(stage.ended_s, zero_ns))

    def _begin(
        self, name: str, started_s: float, zero_ns: int, parent: Context, kind: SpanKind = SpanKind.INTERNAL
    ) -> Span:
        return self._tracer.start_span(name, parent, kind, start_time=_ns(started_s, zero_ns))


class _Exporter(OTLPSpanExporter):
    """Says once that traces cannot be sent, and once that they can be sent again. The SDK would say it every second."""

    def __init__(self, url: str) -> None:
        logging.getLogger("opentelemetry").setLevel("CRITICAL")
        super().__init__(url, timeout=EXPORT_TIMEOUT_S)
        parts = urlsplit(url)
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # without a password
        self._is_lost = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        was_lost, self._is_lost = self._is_lost, result is not SpanExportResult.SUCCESS
        if self._is_lost and not was_lost:
            logger.warning("traces cannot be sent to %s, and are dropped until they can", self._url)
        elif was_lost and not self._is_lost:
            logger.info("traces are sent to %s again", self._url)
        return result


def _ns(moment_s: float, zero_ns: int) -> int:
    """Nanoseconds of Unix time; `zero_ns`: those at which time.monotonic is zero."""
    return zero_ns + round(moment_s * 1e9)


def _name(trace: Trace) -> str:
    return " ".join(filter(None, (_method(trace), trace.route)))


def _method(trace: Trace) -> str:
    return trace.method if trace.method in METHODS else "_OTHER"


def _of_request(trace: Trace) -> Iterator[tuple[str, Value]]:
    """opentelemetry.io/docs/specs/semconv/http/http-spans, and two of our own."""
    yield "http.request.method", _method(trace)
    yield "url.scheme", trace.scheme
    yield "url.path", trace.path
    yield "foveal.request_id", trace.request_id
    if trace.route is not None:
        yield "http.route", trace.route
    if trace.status:
        yield "http.response.status_code", trace.status
    if trace.status >= 500 or trace.status == 0:
        yield "error.type", str(trace.status or "aborted")
    if trace.key_name is not None:
        yield "foveal.key", trace.key_name


def _of_answers(answers: Answers, model: str) -> Iterator[tuple[str, Value]]:
    """opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans, and one of our own."""
    options, usage = answers.asked.options, answers.usage
    yield "gen_ai.operation.name", "chat" if isinstance(answers.asked, ChatRequest) else "text_completion"
    yield "gen_ai.provider.name", "foveal"
    yield "gen_ai.request.model", model
    yield "gen_ai.response.model", model
    yield "gen_ai.request.temperature", options.sampling.temperature
    yield "gen_ai.request.top_p", options.sampling.top_p
    if options.max_tokens is not None:
        yield "gen_ai.request.max_tokens", options.max_tokens
    if answers.num_choices > 1:
        yield "gen_ai.request.choice.count", answers.num_choices
    yield "gen_ai.usage.input_tokens", usage.prompt_tokens
    yield "gen_ai.usage.cache_read.input_tokens", usage.cached_tokens
    yield "gen_ai.usage.output_tokens", usage.completion_tokens
    yield "foveal.image_tokens", usage.image_tokens
    if answers.first_token_s is not None:
        yield "gen_ai.response.time_to_first_chunk", answers.first_token_s
    if answers.ending in ("aborted", "failed"):
        yield "error.type", answers.ending
    else:
        yield "gen_ai.response.finish_reasons", answers.ending.split(",")

"""Traces: a span for each RPC, by OpenTelemetry's gRPC instrumentation, sent to an OTLP collector, if asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import grpc


class TracingError(Exception):
    """Traces cannot be sent."""


@contextmanager
def tracing(endpoint: str) -> Iterator[list[grpc.aio.ServerInterceptor]]:
    """gRPC interceptors that make a span of each RPC; at the end of the block, what is left of them is sent.

    A unary RPC's span lasts as long as the RPC, a stream's as long as the stream: the batches in it have none of their
    own. A caller's trace context is continued. Health checks are left out. Everything else is as OpenTelemetry's
    variables say: ``OTEL_SERVICE_NAME``, ``OTEL_TRACES_SAMPLER``, ``OTEL_EXPORTER_OTLP_HEADERS`` and the like.

    Args:
        endpoint: of a collector that takes OTLP over gRPC, such as ``http://collector:4317``; ``https`` for TLS.

    Raises TracingError where the extra ``tracing`` is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingError(f"traces need the extra syllabus-service[tracing]: {error}") from error
    about = {"service.version": version("syllabus-service")}
    if "OTEL_SERVICE_NAME" not in os.environ:
        about["service.name"] = "syllabus-service"
    provider = TracerProvider(resource=Resource.create(about))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    try:
        yield server_interceptors(provider)
    finally:
        provider.shutdown()


def server_interceptors(provider: Any) -> list[grpc.aio.ServerInterceptor]:
    """Interceptors for ``Server`` that make spans of an OpenTelemetry TracerProvider."""
    from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters

    return [aio_server_interceptor(tracer_provider=provider, filter_=filters.negate(filters.health_check()))]


def add_trace_ids(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: an event that is logged within a span says which."""
    from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

    context = get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"], event["span_id"] = format_trace_id(context.trace_id), format_span_id(context.span_id)
    return event

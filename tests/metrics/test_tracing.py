"""Spans of a real server's RPCs, kept in memory, and sent to a collector by a service process."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from syllabus_client.wire import curriculum_pb2 as pb
from syllabus_service.tracing import server_interceptors
from tests.service.serving import TIMEOUT, Stream, serving
from tests.service_process import ServiceProcess

PREFIX = "/syllabus.v1.CurriculumService/"


def test_a_unary_call_and_a_stream_have_a_span_each_and_a_health_check_has_none() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with serving(interceptors=server_interceptors(provider)) as server:
        server.create()
        with pytest.raises(grpc.RpcError):
            server.stub.GetCurriculum(pb.GetCurriculumRequest(curriculum="nowhere"), timeout=TIMEOUT)
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        server.stub.ListCurricula(pb.ListCurriculaRequest(), timeout=TIMEOUT, metadata=[("traceparent", trace)])
        stream = Stream(server.stub)
        stream.open()
        assert stream.ask(1, pb.MetricsBatch(num_tasks=2)).position == 1
        stream.close()
        with pytest.raises(StopIteration):
            stream.receive()
        with grpc.insecure_channel(server.address) as channel:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    spans: dict[str, ReadableSpan] = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {
        PREFIX + name for name in ("CreateCurriculum", "GetCurriculum", "ListCurricula", "StreamMetrics")
    }
    codes = {name.removeprefix(PREFIX): span.attributes["rpc.grpc.status_code"] for name, span in spans.items()}
    assert codes == {
        "CreateCurriculum": 0,
        "GetCurriculum": grpc.StatusCode.NOT_FOUND.value[0],
        "ListCurricula": 0,
        "StreamMetrics": 0,
    }
    assert spans[PREFIX + "ListCurricula"].context.trace_id == 0x0AF7651916CD43DD8448EB211C80319C


class _Collector(otlp_grpc.TraceServiceServicer):
    """Takes spans as a collector does."""

    def __init__(self) -> None:
        self.requests: queue.SimpleQueue[otlp.ExportTraceServiceRequest] = queue.SimpleQueue()

    def Export(self, request: otlp.ExportTraceServiceRequest, context: grpc.ServicerContext) -> object:
        self.requests.put(request)
        return otlp.ExportTraceServiceResponse()


def test_a_service_process_sends_its_spans_to_the_collector_it_was_told(
    start_service: Callable[..., ServiceProcess],
) -> None:
    collector = _Collector()
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        otlp_grpc.add_TraceServiceServicer_to_server(collector, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            service = start_service("--trace", f"http://127.0.0.1:{port}")
            with service.stub() as stub:
                stub.DeleteCurriculum.future(pb.DeleteCurriculumRequest(curriculum="x"), timeout=TIMEOUT).exception()
            assert service.terminate() == 0
            sent = collector.requests.get(timeout=TIMEOUT)
        finally:
            server.stop(None).wait()
    resource = {each.key: each.value.string_value for each in sent.resource_spans[0].resource.attributes}
    assert resource["service.name"] == "syllabus-service"
    (span,) = sent.resource_spans[0].scope_spans[0].spans
    assert span.name == PREFIX + "DeleteCurriculum"
    audit = service.events("audit")[0]
    assert audit["trace_id"] == span.trace_id.hex()

"""Checks the sink itself with spans from the OpenTelemetry SDK over both protocols: a sink that loses some proves nothing."""

import json
import sys
import urllib.request

from harness import HERE, Suite, free_ports, wait_for_port
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def start_sink(suite: Suite) -> tuple[int, int]:
    """Starts the sink; gives its gRPC and HTTP ports."""
    grpc_port, http_port = free_ports(2)
    process = suite.start("sink", [sys.executable, HERE / "otlp_sink.py", grpc_port, http_port])
    wait_for_port(grpc_port, process)
    wait_for_port(http_port, process)
    return grpc_port, http_port


def sink_counts(http_port: int) -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/counts", timeout=10) as answer:
        return json.load(answer)


def check_sink(suite: Suite, grpc_port: int, http_port: int) -> int:
    """Sends 700 spans each way; gives the number that the sink has now counted."""
    for exporter in (
        Grpc(endpoint=f"http://127.0.0.1:{grpc_port}", insecure=True),
        Http(endpoint=f"http://127.0.0.1:{http_port}/v1/traces"),
    ):
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(exporter))
        tracer = provider.get_tracer("check")
        for number in range(700):
            tracer.start_span(f"check {number % 7}").end()
        provider.shutdown()
    counts = sink_counts(http_port)
    suite.check(
        "the sink counts what the SDK sends it over gRPC and HTTP",
        counts["spans"] == 1400 and counts["unique"] == 1400,
        f"{counts['spans']} spans, {counts['unique']} different ones, of 1400",
    )
    return counts["spans"]


if __name__ == "__main__":
    with Suite("otlp_sink") as suite:
        check_sink(suite, *start_sink(suite))
        sys.exit(suite.finish())

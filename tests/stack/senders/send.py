"""Sends the spans of `expected.py` with the OpenTelemetry SDK for Python. See suite_senders.py for what the arguments
mean: send.py PROTOCOL COMPRESSION ENDPOINT SERVICE TRACEPARENT TRACESTATE
"""

import sys

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

protocol, compression, endpoint, service, traceparent, tracestate = sys.argv[1:7]
if protocol == "grpc":
    import grpc
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    packed = grpc.Compression.Gzip if compression == "gzip" else grpc.Compression.NoCompression
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=True, compression=packed)
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    packed = Compression.Gzip if compression == "gzip" else Compression.NoCompression
    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", compression=packed)

provider = TracerProvider(resource=Resource.create({"service.name": service, "deployment.number": 7}))
provider.add_span_processor(BatchSpanProcessor(exporter))
tracer = provider.get_tracer("sender", "1.2.3")

T0, MS = 1_700_000_000_000_000_000, 1_000_000
caller = TraceContextTextMapPropagator().extract({"traceparent": traceparent, "tracestate": tracestate})
linked = SpanContext(int("0af7651916cd43dd8448eb211c80319c", 16), int("b7ad6b7169203331", 16), True, TraceFlags(1))
root = tracer.start_span(
    "GET /orders/{id}", caller, SpanKind.SERVER, start_time=T0, links=[Link(linked, {"why": "batch"})],
    attributes={
        "text": "grün ✓", "flag": True, "whole": 9007199254740991, "negative": -42, "fraction": 0.5,
        "texts": ["a", "b"], "wholes": [1, 2, 3], "fractions": [0.5, 1.5], "flags": [True, False],
    },
)  # fmt: skip
root.add_event("happened", {"n": 1}, timestamp=T0 + 5 * MS)
root.set_status(Status(StatusCode.ERROR, "went wrong"))
below = trace.set_span_in_context(root)
for name, kind, start, end, attributes in (
    ("work", SpanKind.INTERNAL, 10, 20, {}),
    ("SELECT orders", SpanKind.CLIENT, 20, 40, {"db.system.name": "postgresql", "db.query.text": "SELECT * FROM orders WHERE id = $1"}),
    ("publish", SpanKind.PRODUCER, 40, 41, {}),
    ("take", SpanKind.CONSUMER, 50, 60, {}),
):  # fmt: skip
    span = tracer.start_span(name, below, kind, start_time=T0 + start * MS, attributes=attributes)
    if kind == SpanKind.CLIENT:
        span.set_status(Status(StatusCode.OK))
    span.end(end_time=T0 + end * MS)
root.end(end_time=T0 + 100 * MS)
provider.shutdown()

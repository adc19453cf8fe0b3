"""A receiver apart from hotspan: counts spans and different (trace id, span id) pairs that arrive over OTLP.

gRPC and HTTP/protobuf, both gzip or plain. Prints nothing; on `GET /counts` at the HTTP port it gives JSON. One
process, so that "it all arrived" is one number. Usage: otlp_sink.py GRPC_PORT HTTP_PORT
"""

import gzip
import json
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

lock = threading.Lock()
seen: set[bytes] = set()
counts: dict = {
    "requests": 0,
    "spans": 0,
    "kinds": {},
    "names": {},
    "metric_requests": 0,
    "data_points": 0,
    # By name: unit, kind of data, and the attribute keys of its points.
    "metrics": {},
    # Attribute keys of the resource that metrics came from.
    "resource": [],
}


def take_spans(raw: bytes) -> None:
    request = ExportTraceServiceRequest.FromString(raw)
    with lock:
        counts["requests"] += 1
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                counts["spans"] += len(scope.spans)
                for span in scope.spans:
                    seen.add(span.trace_id + span.span_id)
                    kind = str(span.kind)
                    counts["kinds"][kind] = counts["kinds"].get(kind, 0) + 1
                    if span.name in counts["names"] or len(counts["names"]) < 100:
                        counts["names"][span.name] = counts["names"].get(span.name, 0) + 1


def take_metrics(raw: bytes) -> None:
    request = ExportMetricsServiceRequest.FromString(raw)
    with lock:
        counts["metric_requests"] += 1
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    data = getattr(metric, metric.WhichOneof("data"))
                    counts["data_points"] += len(data.data_points)
                    known = counts["metrics"].setdefault(metric.name, {"unit": metric.unit, "attributes": []})
                    known["kind"] = metric.WhichOneof("data")
                    known["monotonic"] = getattr(data, "is_monotonic", False)
                    for point in data.data_points:
                        keys = {each.key for each in point.attributes} | set(known["attributes"])
                        known["attributes"] = sorted(keys)
            counts["resource"] = sorted({each.key for each in resource.resource.attributes} | set(counts["resource"]))


class Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            raw = gzip.decompress(raw)
        if self.path == "/v1/traces":
            take_spans(raw)
            self.answer(ExportTraceServiceResponse().SerializeToString(), "application/x-protobuf")
        elif self.path == "/v1/metrics":
            take_metrics(raw)
            self.answer(ExportMetricsServiceResponse().SerializeToString(), "application/x-protobuf")
        else:
            self.send_error(404)

    def do_GET(self):
        with lock:
            self.answer(json.dumps({**counts, "unique": len(seen)}).encode(), "application/json")

    def answer(self, body: bytes, kind: str):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def grpc_server(port: int) -> grpc.Server:
    def method(take, answer):
        def call(raw: bytes, _context) -> bytes:
            take(raw)
            return answer().SerializeToString()

        return grpc.unary_unary_rpc_method_handler(call)

    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=2), options=[("grpc.max_receive_message_length", 64 << 20)]
    )
    for service, take, answer in (
        ("trace.v1.TraceService", take_spans, ExportTraceServiceResponse),
        ("metrics.v1.MetricsService", take_metrics, ExportMetricsServiceResponse),
    ):
        name = f"opentelemetry.proto.collector.{service}"
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"Export": method(take, answer)}),)
        )
    server.add_insecure_port(f"127.0.0.1:{port}")
    return server


if __name__ == "__main__":
    server = grpc_server(int(sys.argv[1]))
    server.start()
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Sink).serve_forever()

"""Two small services, front and back, instrumented by hand with the OpenTelemetry SDK: well, or badly in one named way.
They answer at their own ports; front asks a pretended database and calls back. For suite_doctor.py.

broken_service.py MODE FRONT_PORT BACK_PORT OTLP_GRPC_ENDPOINT
"""

import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry import context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

mode, front_port, back_port, endpoint = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
MODES = (
    "healthy", "own_traces", "context_dropped", "no_database", "no_query_text", "no_calls", "duplicates", "sent_twice",
    "skewed_clock", "ratio", "ratio_below", "always_on", "limits", "late", "silent",
)  # fmt: skip
if mode not in MODES:
    raise SystemExit(f"no mode {mode}; there are {', '.join(MODES)}")
propagator = TraceContextTextMapPropagator()


def provider(service: str) -> TracerProvider:
    sampler = ParentBased(ALWAYS_ON)
    if mode == "always_on":
        sampler = ALWAYS_ON
    # Its own share, whatever the caller asks for: by a part of the trace id, so half of the requests.
    if (mode, service) in (("ratio", "front"), ("ratio", "back"), ("ratio_below", "back")):
        sampler = TraceIdRatioBased(0.5)
    limits = SpanLimits(max_span_attributes=2) if mode == "limits" else SpanLimits()
    resource = Resource({"service.name": service, "host.name": f"host-of-{service}"})
    made = TracerProvider(resource=resource, sampler=sampler, span_limits=limits)
    delay = 9_000 if mode == "late" else 500
    exporters = 0 if mode == "silent" else 2 if mode == "sent_twice" else 1
    for _ in range(exporters):
        made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=True), schedule_delay_millis=delay))
    return made


providers = {service: provider(service) for service in ("front", "back")}


def now(service: str) -> int:
    skew = 3_000_000_000 if mode == "skewed_clock" and service == "back" else 0
    return time.time_ns() + skew


class Work:
    """A span of a service, by its own clock."""

    def __init__(self, service, name, kind, parent, attributes=None, library="by-hand"):
        self.service = service
        tracer = providers[service].get_tracer(library)
        self.span = tracer.start_span(name, parent, kind, attributes=attributes, start_time=now(service))
        self.context = set_span_in_context(self.span, parent)

    def __enter__(self):
        return self.context

    def __exit__(self, *_):
        self.span.end(end_time=now(self.service))


def query(parent) -> None:
    time.sleep(0.005)
    if mode in ("no_database", "no_calls"):
        return
    attributes = {"db.system.name": "postgresql", "server.address": "db.internal", "server.port": 5432, "db.namespace": "shop"}
    if mode != "no_query_text":
        attributes["db.query.text"] = "SELECT id, name FROM product WHERE id = $1"
    with Work("front", "SELECT product", SpanKind.CLIENT, parent, attributes, "driver") as inner:
        if mode == "duplicates":
            with Work("front", "SELECT product", SpanKind.CLIENT, inner, attributes, "orm"):
                time.sleep(0.01)
        else:
            time.sleep(0.01)


def call(parent) -> None:
    url = f"http://127.0.0.1:{back_port}/stock"
    headers: dict = {}
    if mode == "no_calls":
        time.sleep(0.01)
        return
    attributes = {"http.request.method": "GET", "server.address": "127.0.0.1", "server.port": back_port, "url.full": url}
    with Work("front", "GET", SpanKind.CLIENT, parent, attributes, "http-client") as inner:
        if mode != "context_dropped":
            propagator.inject(headers, inner)
        urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10).read()


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service = ""

    def do_GET(self):
        read = {} if mode == "own_traces" and self.service == "front" else {key.lower(): value for key, value in self.headers.items()}
        caller = propagator.extract(read, context.Context())
        attributes = {"http.request.method": "GET", "http.route": self.path, "url.path": self.path}
        with Work(self.service, f"GET {self.path}", SpanKind.SERVER, caller, attributes) as inside:
            time.sleep(0.005)
            if self.service == "front":
                query(inside)
                call(inside)
            else:
                time.sleep(0.01)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


def serve(service: str, port: int) -> None:
    handler = type(service, (Service,), {"service": service})
    ThreadingHTTPServer(("127.0.0.1", port), handler).serve_forever()


threading.Thread(target=serve, args=("back", back_port), daemon=True).start()
serve("front", front_port)

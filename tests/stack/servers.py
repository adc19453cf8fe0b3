"""The real servers of the stack as processes of a suite: the OpenTelemetry Collector, Jaeger and Prometheus, as
tests/stack/run built them. All on loopback, on ports that were free, ended with their suite.
"""

import http.server
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml
from harness import HERE, HOST, Skip, Suite, free_ports, wait_for_port

ROOT = HERE.parent.parent


def program(variable: str) -> str:
    """The program that tests/stack/run put into the environment."""
    path = os.environ.get(variable, "")
    if not os.access(path, os.X_OK):
        raise Skip(f"{variable}={path!r} is no program: start this suite with tests/stack/run, which builds it")
    return path


def get(url: str, timeout: float = 30.0) -> bytes:
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read()


def post(url: str, body, headers: "dict | None" = None) -> bytes:
    """A body of bytes, or of JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def until(what: str, probe, seconds: float = 30.0, pause: float = 0.2):
    """The first true answer of `probe`; an error after so many seconds."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            if answer := probe():
                return answer
        except (OSError, urllib.error.URLError, ValueError) as problem:
            last = problem
        time.sleep(pause)
    raise RuntimeError(f"{what}: not within {seconds:.0f} s ({last})")


class Collector:
    """A Collector with the given configuration (a mapping); `otlp` receivers without endpoints get free ports."""

    def __init__(self, suite: Suite, name: str, config: dict):
        self.suite, self.name = suite, name
        self.grpc_port, self.http_port, self.metrics_port = free_ports(3)
        config["receivers"] = {
            "otlp": {
                "protocols": {
                    "grpc": {"endpoint": f"{HOST}:{self.grpc_port}", "max_recv_msg_size_mib": 64},
                    "http": {"endpoint": f"{HOST}:{self.http_port}"},
                }
            }
        }
        reader = {"pull": {"exporter": {"prometheus": {"host": HOST, "port": self.metrics_port}}}}
        config["service"].setdefault("telemetry", {})["metrics"] = {"level": "normal", "readers": [reader]}
        self.config = suite.folder / f"{name}.yaml"
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))
        self.process = suite.start(name, [program("HOTSPAN_OTELCOL"), "--config", self.config])
        try:
            wait_for_port(self.grpc_port, self.process)
            wait_for_port(self.http_port, self.process)
        except RuntimeError as problem:
            raise RuntimeError(f"{problem}\n{suite.log(name)}") from problem

    @property
    def grpc(self) -> str:
        return f"http://{HOST}:{self.grpc_port}"

    @property
    def http(self) -> str:
        return f"http://{HOST}:{self.http_port}"

    @property
    def metrics_url(self) -> str:
        return f"http://{HOST}:{self.metrics_port}/metrics"

    def count(self, *words: str) -> int:
        """The sum of the Collector's own counters whose line has all of these words."""
        total = 0.0
        for line in get(self.metrics_url).decode().splitlines():
            if not line.startswith("#") and all(word in line for word in words):
                total += float(line.rsplit(" ", 1)[1])
        return round(total)

    def stop(self) -> None:
        self.suite.stop(self.process)


def exporter(port: int, grpc: bool = True) -> dict:
    """An OTLP exporter to a port of this machine that waits instead of losing."""
    patient = {
        "sending_queue": {"enabled": True, "queue_size": 20_000, "block_on_overflow": True},
        "retry_on_failure": {"enabled": True, "max_elapsed_time": "120s"},
    }
    if grpc:
        return {"endpoint": f"{HOST}:{port}", "tls": {"insecure": True}, **patient}
    return {"endpoint": f"http://{HOST}:{port}", **patient}


class Jaeger:
    """Jaeger v2, all in one, in memory, with its query API."""

    def __init__(self, suite: Suite, name: str = "jaeger", max_traces: int = 1_000_000, query_tls: dict | None = None):
        self.grpc_port, self.http_port, self.query_port, query_grpc, health = free_ports(5)
        config = {
            "extensions": {
                "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": max_traces}}}},
                "jaeger_query": {
                    "storage": {"traces": "memory"},
                    "http": {"endpoint": f"{HOST}:{self.query_port}"},
                    "grpc": {"endpoint": f"{HOST}:{query_grpc}", **({"tls": query_tls} if query_tls else {})},
                },
                "healthcheckv2": {"use_v2": True, "http": {"endpoint": f"{HOST}:{health}"}},
            },
            "receivers": {
                "otlp": {
                    "protocols": {
                        "grpc": {"endpoint": f"{HOST}:{self.grpc_port}", "max_recv_msg_size_mib": 64},
                        "http": {"endpoint": f"{HOST}:{self.http_port}"},
                    }
                }
            },
            "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
            "service": {
                "extensions": ["jaeger_storage", "jaeger_query", "healthcheckv2"],
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}},
                "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
            },
        }
        path = suite.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        self.process = suite.start(name, [program("HOTSPAN_JAEGER"), "--config", path])
        self.query_grpc_port = query_grpc
        for port in (self.grpc_port, self.query_port):
            try:
                wait_for_port(port, self.process)
            except RuntimeError as problem:
                raise RuntimeError(f"{problem}\n{suite.log(name)}") from problem

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.query_port}"

    def services(self) -> list:
        return json.loads(get(f"{self.url}/api/v3/services"))["services"]

    def send(self, request: dict) -> None:
        post(f"http://{HOST}:{self.http_port}/v1/traces", request)

    def trace(self, trace_id: str) -> list:
        """Every span of a trace, as OTLP JSON."""
        result = json.loads(get(f"{self.url}/api/v3/traces/{trace_id}?rawTraces=true"))["result"]
        return spans_of(result)


class Store:
    """A backend that takes no OTLP: what a service exports to `otlp_url` is written there as the Collector's exporter would."""

    def __init__(self, suite: Suite):
        store = self

        class Export(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                store.send(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer((HOST, 0), Export)
        self.otlp_url = f"http://{HOST}:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        suite.on_end.append(server.shutdown)

    def send(self, request: dict) -> None:
        raise NotImplementedError


def flat(attributes: list) -> dict:
    return {each["key"]: next(iter(each["value"].values())) for each in attributes}


class Zipkin(Store):
    """Zipkin's server, in memory."""

    def __init__(self, suite: Suite):
        super().__init__(suite)
        (self.port,) = free_ports(1)
        listen = [f"--armeria.ports[0].{key}" for key in (f"ip={HOST}", f"port={self.port}", "protocols[0]=http")]
        java = [shutil.which("java") or "java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-jar", os.environ["HOTSPAN_ZIPKIN"]]
        self.process = suite.start("zipkin", [*java, *listen], env={"SELF_TRACING_ENABLED": "false"})
        wait_for_port(self.port, self.process, seconds=120)
        self.url = f"http://{HOST}:{self.port}"
        self.source = f"zipkin:{self.url}"
        self.wrong = [("a path that is none", f"zipkin:{self.url}/elsewhere", "404")]

    def send(self, request: dict) -> None:
        spans = []
        for each in spans_of(request):
            span, service = each["span"], flat(each["resource"].get("attributes", []))["service.name"]
            start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
            spans.append(
                {
                    "traceId": span["traceId"],
                    "id": span["spanId"],
                    "kind": {2: "SERVER", 3: "CLIENT"}[span["kind"]],
                    "name": span["name"],
                    "timestamp": start // 1000,
                    "duration": max(1, (end - start) // 1000),
                    "localEndpoint": {"serviceName": service},
                    "tags": flat(span.get("attributes", [])),
                    **({"parentId": span["parentSpanId"]} if span.get("parentSpanId") else {}),
                }
            )
        post(f"{self.url}/api/v2/spans", spans)


class ClickHouse(Store):
    """ClickHouse's engine behind its HTTP interface, with the tables of the Collector's exporter in a database `otel`."""

    def __init__(self, suite: Suite):
        super().__init__(suite)
        (self.port,) = free_ports(1)
        folder = Path(os.environ["HOTSPAN_CLICKHOUSE"])
        command = [folder / "venv/bin/python", HERE / "clickhouse_http.py", self.port, suite.folder / "clickhouse"]
        self.process = suite.start("clickhouse-http", [*command, folder / "sqltemplates", "reader", "s3cret"])
        wait_for_port(self.port, self.process, seconds=60)
        self.source = f"clickhouse:http://reader:s3cret@{HOST}:{self.port}/?database=otel"
        self.wrong = [
            ("a wrong password", self.source.replace("s3cret", "s3cret1"), "Authentication failed"),
            ("a table that is none", self.source + "&table=spans", "spans"),
            ("a database that is none", self.source.replace("=otel", "=nowhere"), "nowhere"),
        ]

    def send(self, request: dict) -> None:
        rows = []
        for each in spans_of(request):
            span, resource = each["span"], flat(each["resource"].get("attributes", []))
            start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
            rows.append(
                {
                    "Timestamp": f"{start // 10**9}.{start % 10**9:09d}",
                    "TraceId": span["traceId"],
                    "SpanId": span["spanId"],
                    "ParentSpanId": span.get("parentSpanId", ""),
                    "SpanName": span["name"],
                    "SpanKind": {2: "Server", 3: "Client"}[span["kind"]],
                    "ServiceName": resource["service.name"],
                    "ResourceAttributes": resource,
                    "SpanAttributes": flat(span.get("attributes", [])),
                    "Duration": end - start,
                    "StatusCode": "Unset",
                }
            )
        insert = "INSERT INTO otel_traces FORMAT JSONEachRow\n" + "\n".join(json.dumps(row) for row in rows)
        login = {"X-ClickHouse-User": "reader", "X-ClickHouse-Key": "s3cret"}
        post(f"http://{HOST}:{self.port}/?database=otel", insert.encode(), login)


def spans_of(request: dict) -> list:
    """The spans of an OTLP JSON request, each with its resource and scope beside it."""
    found = []
    for resource in request.get("resourceSpans", []):
        for scope in resource.get("scopeSpans", []):
            for span in scope.get("spans", []):
                found.append({"resource": resource.get("resource", {}), "scope": scope.get("scope", {}), "span": span})
    return found


class Prometheus:
    """Prometheus that takes in OTLP, with native histograms and exemplars."""

    def __init__(self, suite: Suite, config: dict, name: str = "prometheus"):
        (self.port,) = free_ports(1)
        path = suite.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        self.process = suite.start(
            name,
            [
                program("HOTSPAN_PROMETHEUS"),
                f"--config.file={path}",
                f"--storage.tsdb.path={suite.folder / name}",
                f"--web.listen-address={HOST}:{self.port}",
                "--web.enable-otlp-receiver",
                "--enable-feature=exemplar-storage",
            ],
        )
        try:
            wait_for_port(self.port, self.process)
            until("Prometheus is ready", lambda: get(f"{self.url}/-/ready"))
        except RuntimeError as problem:
            raise RuntimeError(f"{problem}\n{suite.log(name)}") from problem

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def query(self, expression: str, at: "float | None" = None) -> list:
        parameters = {"query": expression, **({"time": at} if at else {})}
        answer = json.loads(get(f"{self.url}/api/v1/query?{urllib.parse.urlencode(parameters)}"))
        return answer["data"]["result"]

    def query_range(self, expression: str, start: float, end: float, step: float) -> list:
        parameters = {"query": expression, "start": start, "end": end, "step": step}
        answer = json.loads(get(f"{self.url}/api/v1/query_range?{urllib.parse.urlencode(parameters)}"))
        return answer["data"]["result"]

    def exemplars(self, expression: str, start: float, end: float) -> list:
        parameters = {"query": expression, "start": start, "end": end}
        return json.loads(get(f"{self.url}/api/v1/query_exemplars?{urllib.parse.urlencode(parameters)}"))["data"]


def validated(suite: Suite, command: list, environment: "dict | None" = None) -> "subprocess.CompletedProcess":
    """Runs a program that checks a file; its words are kept for the message."""
    return subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **(environment or {})},
        cwd=suite.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def collector_files() -> list:
    """Every configuration of the Collector in collector/, the builder's manifest and Prometheus' file left out."""
    files = []
    for path in sorted((ROOT / "collector").glob("*.yaml")):
        if "service" in (yaml.safe_load(path.read_text()) or {}):
            files.append(Path(path))
    return files

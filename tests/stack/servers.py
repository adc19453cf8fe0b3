"""The real servers of the stack as processes of a suite: the OpenTelemetry Collector, Jaeger and Prometheus, as
tests/stack/run built them. All on loopback, on ports that were free, ended with their suite.
"""

import json
import os
import subprocess
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

    def trace(self, trace_id: str) -> list:
        """Every span of a trace, as OTLP JSON."""
        result = json.loads(get(f"{self.url}/api/v3/traces/{trace_id}?rawTraces=true"))["result"]
        return spans_of(result)


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

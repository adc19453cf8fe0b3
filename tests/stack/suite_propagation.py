"""Trace context in other headers than W3C's, held against the readers that people have: OpenTelemetry's own propagators of
Python, Node.js and Java, each service reading one format alone (OTEL_PROPAGATORS) under unmodified automatic instrumentation.

By W3C's header nothing is joined, with the format all is, whatever carries it: HTTP/1.1, HTTP/2 (gRPC), WebSocket, server-sent
events. The doctor finds out which format a service reads.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from harness import HERE, HOST, Suite, free_ports, hotspan_binary, read_report, run_folder, traced, wait_for_port

PROGRAMS = Path(sys.executable).parent
STREAMS = HERE / "streams_app"
APP = HERE / "propagation_app"
FORMATS = ("b3", "b3multi", "jaeger", "xray")
# What the doctor must name.
HEADERS = {"b3": "`b3`", "b3multi": "`X-B3-TraceId`", "jaeger": "`uber-trace-id`", "xray": "`X-Amzn-Trace-Id`"}
# Zipkin's readers of one form read the other, too: the doctor names the first that is read.
FOUND_AS = {"b3": ("b3",), "b3multi": ("b3", "b3multi"), "jaeger": ("jaeger",), "xray": ("xray",)}

# Paced: a service that answers thousands a second fills its exporter's queue, and spans that it drops are joined by nobody.
PAGES = """
name: NAME
target: http://127.0.0.1:PORT
TRACE
load: {users: 3, for: 3s}
pace: 20ms
steps:
  - {name: fixed, get: /seen}
  - {name: made, get: "/seen?n={{ pick(1, 9) }}"}
"""

STREAMED = """
  - {name: chat, ws: /chat, script: [{send: hello}, {expect: hello}, {close: {}}]}
  - {name: events, sse: "/events?count=3"}
"""

CALLS = """
name: NAME
target: http://127.0.0.1:PORT
TRACE
load: {users: 3, for: 3s}
pace: 20ms
steps:
  - {name: product, grpc: shop.v1.Catalog/GetProduct, message: {id: "p-{{ pick(1, 9) }}"}, metadata: {x-tenant: blue}}
  - {name: watch, grpc: shop.v1.Catalog/Watch, message: {id: w, count: 3}}
"""


def python(suite: Suite, name: str, port: int, env: dict):
    return suite.start(
        name,
        [PROGRAMS / "opentelemetry-instrument", PROGRAMS / "uvicorn", "web:app", "--host", HOST, "--port", port,
         "--no-access-log", "--log-level", "warning"],
        env=env, cwd=STREAMS,
    )  # fmt: skip


def node(suite: Suite, name: str, port: int, env: dict):
    folder = suite.folder / f"{name}-app"
    shutil.copytree(APP, folder)
    (folder / "node_modules").symlink_to(Path(os.environ["HOTSPAN_STACK_NODE"]) / "node_modules")
    return suite.start(
        name, ["node", "--require", "@opentelemetry/auto-instrumentations-node/register", "page.js", port],
        env={**env, "OTEL_NODE_RESOURCE_DETECTORS": "env,host,process"}, cwd=folder,
    )  # fmt: skip


def java(suite: Suite, name: str, port: int, env: dict):
    (agent,) = (Path(os.environ["HOTSPAN_STACK_JAVA"]) / "agent").glob("opentelemetry-javaagent-*.jar")
    return suite.start(
        name,
        ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-javaagent:{agent}", APP / "Page.java", port],
        env=env,
    )


def catalog(suite: Suite, name: str, port: int, env: dict):
    made = suite.folder / "made"
    if not made.exists():
        made.mkdir()
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", f"-I{STREAMS}", f"--python_out={made}", f"--grpc_python_out={made}",
             STREAMS / "catalog.proto"],
            check=True,
        )  # fmt: skip
        shutil.copy(STREAMS / "catalog_server.py", made)
    return suite.start(
        name, [PROGRAMS / "opentelemetry-instrument", sys.executable, "catalog_server.py", port],
        env={**env, "SHOP_TIMINGS": str(suite.folder / f"{name}.csv")}, cwd=made,
    )  # fmt: skip


class Service:
    """A service that reads one format alone, and the ports at which hotspan takes in its spans."""

    def __init__(self, suite: Suite, start, name: str, reads: str):
        self.suite, self.name, self.reads = suite, name, reads
        self.port, self.grpc, self.http = free_ports(3)
        env = traced(name, self.http, OTEL_PROPAGATORS=reads, OTEL_BSP_SCHEDULE_DELAY="500", OTEL_TRACES_EXPORTER="otlp")
        self.process = start(suite, name, self.port, env)
        wait_for_port(self.port, self.process, seconds=120)

    def receiver(self) -> list:
        return ["--otlp-grpc", f"{HOST}:{self.grpc}", "--otlp-http", f"{HOST}:{self.http}", "--quiet-period", "3s"]

    def run(self, what: str, scenario: str, trace: str = "", *more, env: dict | None = None):
        """One run: its report, and its folder."""
        folder = self.suite.folder / f"{self.name}-{what}"
        folder.mkdir()
        file = folder / "scenario.yaml"
        file.write_text(scenario.replace("PORT", str(self.port)).replace("NAME", self.name).replace("TRACE", trace))
        ran = self.suite.hotspan("run", file, "--no-ui", "--out", folder / "runs", *self.receiver(), *more, timeout=120, env=env)
        if not self.suite.check(f"{self.name}, {what}: hotspan run exits with 0", ran.code == 0, str(ran)):
            print(self.suite.log(self.name))
        found = run_folder(folder / "runs")
        return read_report(found), found, ran

    def doctor(self, *more) -> tuple:
        ran = self.suite.hotspan("doctor", f"http://{HOST}:{self.port}/seen", *self.receiver(), "--format", "json", *more)
        return ran, json.loads(ran.out) if ran.out.startswith("{") else {}

    def stop(self) -> None:
        self.suite.stop(self.process)


def all_joined(suite: Suite, what: str, report: dict) -> None:
    for step in report["steps"]:
        suite.check(f"{what}: {step['name']}: no error", step["errors"] == 0 and step["checks_failed"] == 0, str(step["failures"]))
        suite.check(f"{what}: {step['name']}: all are joined", step["exchanges"] >= 10 and step["joined"] == step["exchanges"],
                    f"{step['joined']} of {step['exchanges']}")  # fmt: skip


def none_joined(suite: Suite, what: str, report: dict, ran) -> None:
    joined = sum(step["joined"] for step in report["steps"])
    suite.check(f"{what}: nothing is joined", joined == 0, str(joined))
    said = " ".join(ran.text.split())
    suite.check(f"{what}: the report says that other headers can be sent", "--propagate" in said, ran.text)


def begin_with_the_time(suite: Suite, what: str, folder: Path) -> None:
    """X-Ray's trace ids begin with seconds since 1970."""
    ran = suite.hotspan("spans", folder)
    ids = {json.loads(line)["trace_id"] for line in ran.out.splitlines()}
    now = time.time()
    wrong = [each for each in ids if not now - 600 < int(each[:8], 16) <= now + 1]
    suite.check(f"{what}: every trace id begins with the time", len(ids) > 10 and not wrong, f"{len(ids)} ids, wrong: {wrong[:3]}")


def one_reader(suite: Suite, language: str, start, reads: str, scenario: str) -> None:
    service = Service(suite, start, f"{language}-{reads}", reads)
    report, _, ran = service.run("w3c", scenario)
    none_joined(suite, f"{service.name}, by traceparent", report, ran)
    report, folder, _ = service.run("beside", scenario, f"trace: {{propagate: [tracecontext, {reads}]}}")
    all_joined(suite, f"{service.name}, beside traceparent", report)
    if reads == "xray":
        begin_with_the_time(suite, service.name, folder)
    service.stop()


def the_doctor(suite: Suite, reads: str) -> None:
    service = Service(suite, python, f"doctor-{reads}", reads)
    ran, document = service.doctor()
    points = [point for point in document.get("points", []) if point["topic"] == "context"]
    said = points[0]["seen"] + " " + points[0]["fix"] if points else ""
    suite.check(f"doctor, {reads}: exit code 3, as a run would join nothing", ran.code == 3, str(ran))
    suite.check(f"doctor, {reads}: names the headers that are read", HEADERS[reads] in said, str(ran))
    right = any(f"--propagate tracecontext,{name} " in said for name in FOUND_AS[reads])
    suite.check(f"doctor, {reads}: says how they are sent", right, said)
    ran, document = service.doctor("--propagate", reads)
    topics = {point["topic"]: point for point in document.get("points", [])}
    for topic in ("context", "sampling"):
        good = topics.get(topic, {}).get("standing") == "good"
        suite.check(f"doctor, {reads}, with it: {topic} is good", good, str(ran))
    suite.check(f"doctor, {reads}, with it: all requests are joined", document.get("requests", {}).get("joined") == 6, str(ran))
    service.stop()


def ways_to_say_it(suite: Suite) -> None:
    """The flag, the environment, and who wins; a format alone; a share of the requests."""
    service = Service(suite, python, "ways", "jaeger")
    report, _, _ = service.run("flag", PAGES, "", "--propagate", "jaeger")
    all_joined(suite, "by the flag, alone", report)
    report, _, _ = service.run("environment", PAGES, env={"OTEL_PROPAGATORS": "tracecontext,baggage,jaeger"})
    all_joined(suite, "by the environment", report)
    report, _, ran = service.run("scenario", PAGES, "trace: {propagate: [b3]}", env={"OTEL_PROPAGATORS": "jaeger"})
    none_joined(suite, "the scenario wins over the environment", report, ran)
    report, _, _ = service.run("both", PAGES, "trace: {propagate: [b3]}", "--propagate", "tracecontext,jaeger")
    all_joined(suite, "the flag wins over the scenario", report)
    report, _, ran = service.run("strange", PAGES, env={"OTEL_PROPAGATORS": "jaeger,ottrace"})
    all_joined(suite, "beside a name that is not known", report)
    suite.check("a name that is not known is told", "`ottrace` is ignored" in ran.text, ran.text)
    service.stop()


def main() -> int:
    hotspan_binary()
    with Suite("propagation") as suite:
        for reads in FORMATS:
            with suite.case(f"Python, {reads}"):
                one_reader(suite, "python", python, reads, PAGES + STREAMED.lstrip("\n"))
            # Names of metadata are in lower case, and Python's reader of X-Ray looks for its header with capitals.
            if reads != "xray":
                with suite.case(f"gRPC, {reads}"):
                    one_reader(suite, "grpc", catalog, reads, CALLS)
            with suite.case(f"Java, {reads}"):
                one_reader(suite, "java", java, reads, PAGES)
            # OpenTelemetry's SDK for Node.js has no reader of X-Ray's headers.
            if reads != "xray":
                with suite.case(f"Node.js, {reads}"):
                    one_reader(suite, "node", node, reads, PAGES)
            with suite.case(f"doctor, {reads}"):
                the_doctor(suite, reads)
        with suite.case("ways to say it"):
            ways_to_say_it(suite)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

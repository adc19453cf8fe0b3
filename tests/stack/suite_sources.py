"""Traces fetched from a real Jaeger after the load, and read from what it answers: `--traces-from` for a run and for a run
folder afterwards, `hotspan analyze` on the API's answer with no load run, and links in the report.

The service is a few lines that continue the trace and export OTLP/JSON to Jaeger late, as an SDK's batch processor does.
"""

import json
import sys

from harness import HOST, Suite, free_ports, read_report, run_folder, wait_for_port
from servers import Jaeger, get, until

RATE, SECONDS = 60, 4

SERVICE = r"""
import http.server, json, os, sys, threading, time, urllib.request
port, otlp = int(sys.argv[1]), sys.argv[2]
pending, lock = [], threading.Lock()

def attribute(key, value):
    return {"key": key, "value": {"stringValue": value}}

def export():
    while True:
        time.sleep(1.0)
        with lock:
            spans, pending[:] = list(pending), []
        if not spans:
            continue
        resource = {"attributes": [attribute("service.name", "late-shop")]}
        body = json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}).encode()
        request = urllib.request.Request(otlp + "/v1/traces", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=10).read()

class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # head and body in one write: two small ones would wait for each other
    def do_GET(self):
        began = time.time_ns()
        time.sleep(0.004)
        asked, answered = began + 500_000, time.time_ns()
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
        parts = self.headers.get("traceparent", "").split("-")
        if len(parts) != 4 or not int(parts[3], 16) & 1:
            return
        server, query = os.urandom(8).hex(), os.urandom(8).hex()
        base = {"traceId": parts[1]}
        spans = [
            base | {"spanId": server, "parentSpanId": parts[2], "kind": 2, "name": "GET /basket", "startTimeUnixNano": str(began),
                    "endTimeUnixNano": str(time.time_ns()),
                    "attributes": [attribute("http.request.method", "GET"), attribute("http.route", "/basket")]},
            base | {"spanId": query, "parentSpanId": server, "kind": 3, "name": "SELECT basket", "startTimeUnixNano": str(asked),
                    "endTimeUnixNano": str(answered),
                    "attributes": [attribute("db.system.name", "postgresql"), attribute("db.query.text", "SELECT * FROM basket WHERE id = $1")]},
        ]
        with lock:
            pending.extend(spans)
    def log_message(self, *_): pass

threading.Thread(target=export, daemon=True).start()
http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


def database_share(report: dict) -> float:
    return report["verdict"]["categories"]["database"]


def fetched_by_the_run(suite: Suite, jaeger: Jaeger, target: str) -> None:
    out = suite.folder / "fetched"
    ran = suite.hotspan(
        "run", f"{target}/basket", "--rate", RATE, "--duration", f"{SECONDS}s", "--out", out, "--format", "markdown",
        "--traces-from", f"jaeger:{jaeger.url}", "--quiet-period", "2s", "--trace-link", f"jaeger={jaeger.url}",
    )  # fmt: skip
    suite.check("run --traces-from jaeger ends well", ran.code == 0, str(ran))
    report = read_report(run_folder(out))
    facts = report["telemetry"]["fetched"]
    print(f"    {facts}")
    sent = report["load"]["sent"]
    suite.check("every trace of the run was asked for and found", facts["asked"] == facts["found"] == sent, str(facts))
    suite.check("with both of its spans", report["telemetry"]["spans"] - report["telemetry"]["duplicates"] == 2 * sent, str(report["telemetry"]))
    suite.check("every request is joined", report["telemetry"]["coverage"] == 1.0, str(report["telemetry"]["coverage"]))
    suite.check("the database has most of the time", database_share(report) > 0.4, str(report["verdict"]))
    links = [each["url"] for step in report["steps"] for each in step["exemplars"]]
    suite.check("every exemplar is a link", len(links) >= 3 and all(f"({link})" in ran.out for link in links), ran.out)
    shown = json.loads(get(links[0].replace("/trace/", "/api/v3/traces/")))
    suite.check("whose trace Jaeger has", len(shown["result"]["resourceSpans"]) > 0, str(shown)[:300])


def fetched_afterwards(suite: Suite, jaeger: Jaeger, target: str) -> None:
    out = suite.folder / "afterwards"
    ran = suite.hotspan("run", f"{target}/basket", "--rate", RATE, "--duration", "2s", "--out", out, "--traces-from", "none", "--quiet")
    folder = run_folder(out)
    suite.check("a run without a source knows the client's side alone", ran.code == 0 and read_report(folder)["telemetry"]["joined"] == 0, str(ran))
    until("the service's spans in Jaeger", lambda: "late-shop" in jaeger.services())
    ran = suite.hotspan("analyze", folder, "--traces-from", f"jaeger:{jaeger.url}")
    report = read_report(folder)
    suite.check("analyze RUN --traces-from fetches what is missing", ran.code == 0 and report["telemetry"]["coverage"] == 1.0, str(ran))
    again = suite.hotspan("analyze", folder, "--traces-from", f"jaeger:{jaeger.url}")
    suite.check("a second time nothing is missing and nothing is asked", again.code == 0 and "No trace is missing" in again.err, str(again))
    wrong = suite.hotspan("analyze", folder, "--traces-from", "jaeger:http://user:secret@127.0.0.1:1")
    suite.check("secrets of the source are not shown", "secret" not in wrong.text, str(wrong))


def read_as_files(suite: Suite, jaeger: Jaeger) -> None:
    window = "query.start_time_min=2020-01-01T00:00:00Z&query.start_time_max=2100-01-01T00:00:00Z"
    answer = get(f"{jaeger.url}/api/v3/traces?query.service_name=late-shop&{window}&query.num_traces=50&query.raw_traces=true")
    path = suite.folder / "answer-of-the-api"
    path.write_bytes(answer)
    ran = suite.hotspan("analyze", path, "--format", "json")
    suite.check("analyze reads the answer of /api/v3/traces", ran.code == 0, str(ran))
    report = json.loads(ran.out)
    step = report["steps"][0]
    parts = sum(each["mean_ms"] for each in step["categories"].values())
    suite.check("roots are requests of the service", (step["journey"], step["name"]) == ("late-shop", "GET /basket"), str(step)[:300])
    suite.check("their blame sums to their mean", abs(parts - step["latency_ms"]["mean"]) < 0.02, f"{parts} {step['latency_ms']}")


def main() -> int:
    with Suite("sources") as suite:
        jaeger = Jaeger(suite)
        (port,) = free_ports(1)
        service = suite.start("late-shop", [sys.executable, "-c", SERVICE, port, f"http://{HOST}:{jaeger.http_port}"])
        wait_for_port(port, service)
        target = f"http://{HOST}:{port}"
        with suite.case("fetched by the run"):
            fetched_by_the_run(suite, jaeger, target)
        with suite.case("fetched afterwards"):
            fetched_afterwards(suite, jaeger, target)
        with suite.case("files"):
            read_as_files(suite, jaeger)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

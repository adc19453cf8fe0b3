"""Traces fetched from a real Jaeger after the load, and read from what it answers: `--traces-from` for a run and for a run
folder afterwards, over HTTP and over gRPC, a search with no run at all, `hotspan analyze` on the API's answer, and links in the
report.

The service is a few lines that continue the trace and export OTLP/JSON to Jaeger late, as an SDK's batch processor does.
"""

import json
import sys
import time
import urllib.request

from harness import HERE, HOST, Suite, free_ports, read_report, run_folder, wait_for_port
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


def fetched_over_grpc(suite: Suite, jaeger: Jaeger, target: str) -> None:
    out = suite.folder / "grpc"
    source = f"jaeger=grpc://{HOST}:{jaeger.query_grpc_port}"
    ran = suite.hotspan("run", f"{target}/basket", "--rate", RATE, "--duration", "2s", "--out", out, "--traces-from", source, "--quiet-period", "2s")
    report = read_report(run_folder(out))
    facts = report["telemetry"]["fetched"]
    print(f"    {facts}")
    suite.check("run --traces-from jaeger=grpc:// finds every trace", ran.code == 0 and facts["asked"] == facts["found"] == report["load"]["sent"], str(ran))
    suite.check("every request is joined over gRPC", report["telemetry"]["coverage"] == 1.0, str(report["telemetry"]["coverage"]))
    wrong = suite.hotspan("analyze", "--traces-from", f"jaeger:grpc://{HOST}:{jaeger.query_port}")
    suite.check("gRPC at the port of HTTP is an error that says what to do", wrong.code == 1 and "gRPC on port 16685" in wrong.err, str(wrong))


def fetched_over_tls(suite: Suite) -> None:
    """A Jaeger whose gRPC speaks TLS: its certificate is among the trusted ones, or it is refused by name."""
    folder = HERE.parent / "tls"
    certificate = folder / "localhost.pem"
    jaeger = Jaeger(suite, "jaeger-tls", query_tls={"cert_file": str(certificate), "key_file": str(folder / "localhost.key")})
    (port,) = free_ports(1)
    service = suite.start("tls-shop", [sys.executable, "-c", SERVICE, port, f"http://{HOST}:{jaeger.http_port}"])
    wait_for_port(port, service)
    out = suite.folder / "tls"
    source = f"jaeger:grpcs://localhost:{jaeger.query_grpc_port}"
    more = ["--rate", 20, "--duration", "2s", "--out", out, "--traces-from", source, "--quiet-period", "2s"]
    ran = suite.hotspan("run", f"http://{HOST}:{port}/basket", *more, env={"SSL_CERT_FILE": str(certificate)})
    report = read_report(run_folder(out))
    facts = report["telemetry"]["fetched"]
    suite.check("run --traces-from jaeger:grpcs:// finds every trace", ran.code == 0 and facts["asked"] == facts["found"] == report["load"]["sent"], str(ran))
    stranger = suite.hotspan("analyze", "--traces-from", source)
    suite.check("a certificate that nobody trusts is refused", stranger.code == 1 and "certificate" in stranger.err, str(stranger))


def searched(suite: Suite, jaeger: Jaeger, total: int) -> None:
    """No run folder: the service's traces by a search, over both APIs, whole and cut off, and gone on with."""
    for name, source in (("http", f"jaeger:{jaeger.url}"), ("grpc", f"jaeger:grpc://{HOST}:{jaeger.query_grpc_port}")):
        ran = suite.hotspan("analyze", "--traces-from", source, "--service", "late-shop", "--max-traces", "100000", "--format", "json")
        suite.check(f"{name}: a search needs no run folder", ran.code == 0, str(ran)[:2000])
        report = json.loads(ran.out)
        step = report["steps"][0]
        suite.check(f"{name}: every trace is a request of the service", (step["journey"], step["name"], step["exchanges"]) == ("late-shop", "GET /basket", total), f"{total}: {str(step)[:200]}")
        suite.check(f"{name}: with both of its spans", report["telemetry"]["spans"] == 2 * total, str(report["telemetry"]["spans"]))
        suite.check(f"{name}: the database has most of the time", database_share(report) > 0.4, str(report["verdict"]))
        out = suite.folder / f"search-{name}"
        few = suite.hotspan("analyze", "--traces-from", source, "--max-traces", "25", "--out", out)
        suite.check(f"{name}: as many as are wanted, and it says that there are more", few.code == 0 and "more traces than the 25" in few.text, str(few)[:2000])
        folder = run_folder(out)
        suite.check(f"{name}: they are kept", read_report(folder)["steps"][0]["exchanges"] == 25, str(few)[:500])
        more = suite.hotspan("analyze", folder, "--traces-from", source, "--max-traces", "60")
        suite.check(f"{name}: naming the folder goes on", more.code == 0 and 25 <= read_report(folder)["load"]["sent"] <= 60, str(more)[:2000])
        none = suite.hotspan("analyze", "--traces-from", source, "--service", "shp")
        suite.check(f"{name}: an unknown service is named with those that there are", none.code == 1 and "no traces of a service shp; it has spans of:" in none.err and "late-shop" in none.err, str(none))
        old = suite.hotspan("analyze", "--traces-from", source, "--service", "late-shop", "--from", "2020-01-01", "--to", "2020-01-02")
        suite.check(f"{name}: another time has none, and it says so", old.code == 1 and "has no such traces in that time" in old.err, str(old))
        slow = suite.hotspan("analyze", "--traces-from", source, "--service", "late-shop", "--min-duration", "1h")
        suite.check(f"{name}: nothing was so slow", slow.code == 1 and "has no such traces" in slow.err, str(slow))
        one = suite.hotspan("analyze", "--traces-from", source, "--service", "late-shop", "--operation", "SELECT basket", "--max-traces", "10", "--format", "json")
        suite.check(f"{name}: by the name of a span within", one.code == 0 and json.loads(one.out)["steps"][0]["exchanges"] == 10, str(one)[:500])


def searched_in_pieces(suite: Suite, jaeger: Jaeger) -> None:
    """5,000 traces of the past, sent to Jaeger directly: more than one answer holds."""
    count, hour = 5_000, 3_600 * 10**9
    start = (time.time_ns() // hour - 3) * hour
    for first in range(0, count, 500):
        spans = [
            {"traceId": f"{0xBEEF << 64 | n + 1:032x}", "spanId": f"{n + 1:016x}", "name": "GET /past", "kind": 2,
             "startTimeUnixNano": str(start + n * hour // count), "endTimeUnixNano": str(start + n * hour // count + 30_000_000 * (n % 7 + 1))}
            for n in range(first, first + 500)
        ]  # fmt: skip
        resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "past"}}]}
        body = json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}).encode()
        post = urllib.request.Request(f"http://{HOST}:{jaeger.http_port}/v1/traces", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(post, timeout=20).read()
    window = ["--from", str(start // 10**9 - 60), "--to", str(start // 10**9 + 3_720)]
    for name, source in (("http", f"jaeger:{jaeger.url}"), ("grpc", f"jaeger:grpc://{HOST}:{jaeger.query_grpc_port}")):
        ran = suite.hotspan("analyze", "--traces-from", source, "--service", "past", *window, "--max-traces", "100000", "--format", "json")
        report = json.loads(ran.out)
        facts = report["telemetry"]["fetched"]
        print(f"    {facts}")
        suite.check(f"{name}: 5,000 traces come in pieces, none is lost", facts["found"] == report["load"]["sent"] == count, str(facts))


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
        with suite.case("fetched over gRPC"):
            fetched_over_grpc(suite, jaeger, target)
        with suite.case("fetched over TLS"):
            fetched_over_tls(suite)
        with suite.case("files"):
            read_as_files(suite, jaeger)
        total = sum(read_report(run_folder(suite.folder / name))["load"]["sent"] for name in ("fetched", "afterwards", "grpc"))
        with suite.case("searched"):
            searched(suite, jaeger, total)
        with suite.case("searched in pieces"):
            searched_in_pieces(suite, jaeger)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

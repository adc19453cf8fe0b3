"""Traces fetched from a real Jaeger, a real Zipkin and ClickHouse's own engine after the load, and read from what they answer:
`--traces-from` for a run and for a run folder afterwards, over HTTP and over Jaeger's gRPC, a search with no run at all,
`hotspan analyze` on the API's answer, and links in the report.

The service is a few lines that continue the trace and export OTLP/JSON late, as an SDK's batch processor does: to Jaeger as it
is, to the other two as the Collector's exporters write it.
"""

import json
import sys
import time

from harness import HERE, HOST, Suite, free_ports, read_report, run_folder, wait_for_port
from servers import ClickHouse, Jaeger, Zipkin, get, until

RATE, SECONDS = 60, 4

SERVICE = HERE / "late_shop.py"


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
    service = suite.start("tls-shop", [sys.executable, SERVICE, port, f"http://{HOST}:{jaeger.http_port}"])
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


def searched(suite: Suite, sources: list, total: int) -> None:
    """No run folder: the service's traces by a search, over each API, whole and cut off, and gone on with."""
    for name, source in sources:
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


def searched_in_pieces(suite: Suite, sources: list, send) -> None:
    """5,000 traces of the past, sent to the backend directly: more than one answer holds."""
    count, hour = 5_000, 3_600 * 10**9
    start = (time.time_ns() // hour - 3) * hour
    for first in range(0, count, 500):
        spans = [
            {"traceId": f"{0xBEEF << 64 | n + 1:032x}", "spanId": f"{n + 1:016x}", "name": "GET /past", "kind": 2,
             "startTimeUnixNano": str(start + n * hour // count), "endTimeUnixNano": str(start + n * hour // count + 30_000_000 * (n % 7 + 1))}
            for n in range(first, first + 500)
        ]  # fmt: skip
        resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "past"}}]}
        send({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]})
    window = ["--from", str(start // 10**9 - 60), "--to", str(start // 10**9 + 3_720)]
    for name, source in sources:
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


def other_backends(suite: Suite) -> None:
    """Zipkin and ClickHouse: the same runs, searches and numbers of traces as with Jaeger."""
    for make in (Zipkin, ClickHouse):
        name = make.__name__.lower()
        with suite.case(name):
            store = make(suite)
            (port,) = free_ports(1)
            service = suite.start(f"shop-{name}", [sys.executable, SERVICE, port, store.otlp_url])
            wait_for_port(port, service)
            sent = 0
            for part in ("run", "afterwards"):
                sent += from_store(suite, name, store, f"http://{HOST}:{port}/basket", part)
            sources = [(name, store.source)]
            searched(suite, sources, sent)
            searched_in_pieces(suite, sources, store.send)
            wrong_store(suite, name, store)


def from_store(suite: Suite, name: str, store, url: str, part: str) -> int:
    """A run that fetches at its end, or one whose folder is completed afterwards; how many requests it sent."""
    out = suite.folder / f"{name}-{part}"
    first = store.source if part == "run" else "none"
    ran = suite.hotspan("run", url, "--rate", RATE, "--duration", "2s", "--out", out, "--traces-from", first, "--quiet-period", "2s", "--quiet")
    folder = run_folder(out)
    if part == "afterwards":
        time.sleep(2.5)
        ran = suite.hotspan("analyze", folder, "--traces-from", store.source)
    report = read_report(folder)
    sent, telemetry = report["load"]["sent"], report["telemetry"]
    suite.check(f"{name}, {part}: every trace is fetched and joined", ran.code == 0 and telemetry["coverage"] == 1.0, f"{telemetry} {ran}")
    suite.check(f"{name}, {part}: with both of its spans", telemetry["spans"] - telemetry["duplicates"] == 2 * sent, str(telemetry))
    suite.check(f"{name}, {part}: the database has most of the time", database_share(report) > 0.4, str(report["verdict"]))
    names = {each["name"] for each in report["steps"][0]["contributors"]}
    suite.check(f"{name}, {part}: the statement came with its span", any("FROM basket" in each for each in names), str(names))
    return sent


def wrong_store(suite: Suite, name: str, store) -> None:
    for what, source, said in store.wrong:
        ran = suite.hotspan("analyze", "--traces-from", source, "--service", "late-shop")
        suite.check(f"{name}: {what} is an error that says so", ran.code == 1 and said in ran.err, str(ran))
        suite.check(f"{name}: {what}: no secret is shown", "s3cret" not in ran.text, str(ran))


def main() -> int:
    with Suite("sources") as suite:
        jaeger = Jaeger(suite)
        (port,) = free_ports(1)
        service = suite.start("late-shop", [sys.executable, SERVICE, port, f"http://{HOST}:{jaeger.http_port}"])
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
        sources = [("http", f"jaeger:{jaeger.url}"), ("grpc", f"jaeger:grpc://{HOST}:{jaeger.query_grpc_port}")]
        with suite.case("searched"):
            searched(suite, sources, total)
        with suite.case("searched in pieces"):
            searched_in_pieces(suite, sources, jaeger.send)
        other_backends(suite)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

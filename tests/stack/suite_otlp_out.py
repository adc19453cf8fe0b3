"""Client spans of 30 s at 5,000 requests/s all arrive at a receiver that is not hotspan's.

The target is nginx with a two-byte answer. The sink counts spans and different (trace id, span id) pairs; the counts
must be equal to the exchanges, or the difference must be counted and shown in the report. Rounds: OTLP/gRPC for the
whole length, OTLP/HTTP for a third of it.
"""

import json
import os
import re
import sys
import urllib.request

from harness import HERE, Suite, free_ports, read_report, run_folder, wait_for_port
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

RATE = 5000
SECONDS = 30
CLIENT = "3"  # SpanKind.CLIENT in OTLP


def start_sink(suite: Suite, name: str) -> tuple[int, int]:
    """Starts the sink; gives its gRPC and HTTP ports."""
    grpc_port, http_port = free_ports(2)
    process = suite.start(name, [sys.executable, HERE / "otlp_sink.py", grpc_port, http_port])
    wait_for_port(grpc_port, process)
    wait_for_port(http_port, process)
    return grpc_port, http_port


def sink_counts(http_port: int) -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/counts", timeout=30) as answer:
        return json.load(answer)


def check_sink(suite: Suite) -> None:
    """Sends 700 spans each way from the OpenTelemetry SDK: a sink that loses some proves nothing."""
    grpc_port, http_port = start_sink(suite, "sink-check")
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


def start_nginx(suite: Suite) -> int:
    """A two-byte answer from one nginx worker, in the foreground and as this suite's own process."""
    (port,) = free_ports(1)
    folder = suite.folder / "nginx"
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text((HERE / "nginx.conf").read_text().replace("PORT", str(port)).replace("FOLDER", str(folder)))
    nginx = os.environ.get("HOTSPAN_NGINX", "nginx")
    wait_for_port(port, suite.start("nginx", [nginx, "-p", folder, "-c", config, "-e", folder / "error.log"]))
    return port


def one_round(suite: Suite, protocol: str, seconds: int, target: int) -> None:
    grpc_port, http_port = start_sink(suite, f"sink-{protocol.replace('/', '-')}")
    out = suite.folder / f"runs-{protocol.replace('/', '-')}"
    own_grpc, own_http = free_ports(2)
    ran = suite.hotspan(
        "run", f"http://127.0.0.1:{target}/", "--rate", RATE, "--duration", f"{seconds}s", "--no-ui", "--out", out,
        "--otlp-grpc", f"127.0.0.1:{own_grpc}", "--otlp-http", f"127.0.0.1:{own_http}",
        timeout=seconds + 120,
        env={
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{grpc_port if protocol == 'grpc' else http_port}",
        },
    )  # fmt: skip
    counts = sink_counts(http_port)
    if not suite.check(f"{protocol}: hotspan run exits with 0", ran.code == 0, str(ran)):
        print(ran)
    report = read_report(run_folder(out))
    exchanges, export = report["telemetry"]["exchanges"], report["telemetry"]["export"]
    print(
        f"    {protocol}: {exchanges} exchanges ({report['load']['achieved_per_s']:.0f}/s achieved of {RATE}), "
        f"offered to the exporter {export['spans_offered']}, sent {export['spans_sent']}, dropped "
        f"{export['spans_dropped']}; the sink has {counts['kinds'].get(CLIENT, 0)} client spans in "
        f"{counts['requests']} requests, {counts['spans']} spans, {counts['unique']} different; metrics "
        f"{', '.join(sorted(counts['metrics']))}"
    )
    clients, dropped = counts["kinds"].get(CLIENT, 0), export["spans_dropped"]
    suite.check(
        f"{protocol}: every due request is an exchange",
        abs(exchanges - RATE * seconds) <= RATE * seconds * 0.001,
        f"{exchanges} of {RATE * seconds}",
    )
    suite.check(f"{protocol}: every exchange's span was offered", export["spans_offered"] == exchanges)
    suite.check(
        f"{protocol}: offered = sent + dropped",
        export["spans_offered"] == export["spans_sent"] + dropped,
        str(export),
    )
    suite.check(
        f"{protocol}: the sink has what was sent", clients == export["spans_sent"], f"{clients}, {export['spans_sent']}"
    )
    suite.check(
        f"{protocol}: nothing arrived twice", counts["unique"] == counts["spans"], f"{counts['unique']}, {counts['spans']}"
    )
    warnings = " ".join(str(each) for each in report["telemetry"]["warnings"])
    suite.check(
        f"{protocol}: nothing was dropped, or the report says how many",
        dropped == 0 or f"{dropped:,}".replace(",", "") in warnings.replace(",", "").replace("\u202f", ""),
        f"{dropped} dropped; warnings: {warnings}",
    )
    suite.check(
        f"{protocol}: http.client.request.duration arrived as a histogram",
        "istogram" in counts["metrics"].get("http.client.request.duration", {}).get("kind", ""),
        str(counts["metrics"]),
    )
    if protocol == "grpc":
        check_dashboards(suite, counts)


def check_dashboards(suite: Suite, counts: dict) -> None:
    """Every series and label that a dashboard asks for is one that hotspan exports, under the names that Prometheus
    gives them (OTLP translation with escaped names and unit suffixes)."""
    suffixes = {"s": "_seconds", "By": "_bytes", "1": "_ratio", "%": "_percent"}
    labels_of = {}
    for name, metric in counts["metrics"].items():
        series = re.sub(r"\W", "_", name)
        suffix = suffixes.get(metric["unit"], "")
        series += suffix if not series.endswith(suffix) and not (suffix == "_ratio" and metric["kind"] != "gauge") else ""
        series += "_total" if metric["kind"] == "sum" and metric.get("monotonic") else ""
        labels_of[series] = {re.sub(r"\W", "_", key) for key in (*metric["attributes"], *counts["resource"])}
    for path in sorted((HERE.parent.parent / "dashboards").glob("*.json")):
        text = path.read_text()
        for expression in sorted({t["expr"] for panel in json.loads(text)["panels"] for t in panel["targets"]}):
            named = re.findall(r"\b(\w+)\{([^}]*)\}", expression)
            for series, selector in named:
                known = labels_of.get(series)
                if not suite.check(
                    f"{path.name}: {series} is exported", known is not None, f"there are {', '.join(sorted(labels_of))}"
                ):
                    continue
                asked = set(re.findall(r"(\w+)(?==~?|!=)", selector))
                # Which of several series a grouping is of is for the suite `dashboards`, which asks a real Prometheus.
                if len(named) == 1:
                    asked |= {each.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for each in group.split(",")}
                # Labels that only failures have are absent from a run without failures.
                missing = asked - known - {"error_type", "hotspan_check", "hotspan_check_result"}
                suite.check(f"{path.name}: {series} has the labels asked for", not missing, f"{missing} not in {known}")


def main() -> int:
    with Suite("otlp_out") as suite:
        check_sink(suite)
        target = start_nginx(suite)
        with suite.case("grpc"):
            one_round(suite, "grpc", SECONDS, target)
        with suite.case("http/protobuf"):
            one_round(suite, "http/protobuf", SECONDS // 3, target)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

"""Spans through a real Collector: service -> Collector -> hotspan and Jaeger, hotspan's client spans -> Collector -> Jaeger,
and nothing is lost, doubled or unknown on any way. Over gRPC and over HTTP. HOTSPAN_STACK_SPANS sets the size of each
round (default 20000; a full run is 1000000), HOTSPAN_STACK_SECONDS how long its load takes.

Before that every configuration in collector/ is read by the Collector itself, and hotspan's exporter is tried against a
Collector that speaks TLS and asks for a client certificate.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time

import yaml
from harness import HOST, Suite, clean_environment, free_ports, hotspan_binary, read_report, run_folder, wait_for_port
from servers import Collector, Jaeger, collector_files, exporter, program, until, validated

SPANS = int(os.environ.get("HOTSPAN_STACK_SPANS", "20000"))
CHILDREN = 8  # beside the server span and hotspan's client span: ten spans for each request
SECONDS = int(os.environ.get("HOTSPAN_STACK_SECONDS", max(5, SPANS // 20_000)))
# Spans of the run itself: run, load, wait for late spans, analysis.
OF_THE_RUN = 4
TRACES_MAX = 2_000  # that are asked of Jaeger one by one


def configurations(suite: Suite) -> None:
    files = collector_files()
    suite.check("collector/ has configurations", len(files) >= 2, str(files))
    for path in files:
        # What has no receivers is given beside fan-out.yaml.
        beside = [] if re.search(r"^receivers:", path.read_text(), re.M) else ["--config", path.with_name("fan-out.yaml")]
        ran = validated(suite, [program("HOTSPAN_OTELCOL"), "validate", *beside, "--config", path])
        suite.check(f"otelcol validate: {path.name}", ran.returncode == 0, ran.stdout + ran.stderr)
    broken = suite.folder / "broken.yaml"
    broken.write_text(files[0].read_text().replace("exporters:", "exporter:", 1))
    ran = validated(suite, [program("HOTSPAN_OTELCOL"), "validate", "--config", broken])
    suite.check("otelcol validate refuses a broken one", ran.returncode != 0, ran.stdout + ran.stderr)


def certificates(suite: Suite) -> dict:
    """A CA, a server certificate for 127.0.0.1 and a client certificate, made by openssl."""
    folder = suite.folder / "tls"
    folder.mkdir()

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], cwd=folder, check=True, capture_output=True, timeout=60)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", 2,
            "-subj", "/CN=hotspan test CA")  # fmt: skip
    for name, extension in (("server", "subjectAltName=IP:127.0.0.1"), ("client", "extendedKeyUsage=clientAuth")):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / f"{name}.ext").write_text(extension)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", 2, "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip
    return {name: str(folder / name) for name in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")}


def target(suite: Suite) -> int:
    (port,) = free_ports(1)
    process = suite.start("plain-target", [sys.executable, "-c", PLAIN_TARGET, port])
    wait_for_port(port, process)
    return port


PLAIN_TARGET = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def over_tls(suite: Suite) -> None:
    files = certificates(suite)
    events = suite.folder / "tls-events.json"
    collector = Collector(
        suite,
        "collector-tls",
        {
            "exporters": {"file": {"path": str(events)}},
            "service": {
                "pipelines": {
                    signal: {"receivers": ["otlp"], "exporters": ["file"]} for signal in ("traces", "metrics", "logs")
                }
            },
        },
    )
    # The same again, with TLS on both receivers.
    config = yaml.safe_load(collector.config.read_text())
    collector.stop()
    for protocol in config["receivers"]["otlp"]["protocols"].values():
        protocol["tls"] = {"cert_file": files["server.pem"], "key_file": files["server.key"], "client_ca_file": files["ca.pem"]}
    collector.config.write_text(yaml.safe_dump(config))
    collector.process = suite.start("collector-tls", [program("HOTSPAN_OTELCOL"), "--config", collector.config])
    wait_for_port(collector.grpc_port, collector.process)
    wait_for_port(collector.http_port, collector.process)
    port = target(suite)
    trusted = {
        "OTEL_EXPORTER_OTLP_CERTIFICATE": files["ca.pem"],
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": files["client.pem"],
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": files["client.key"],
    }
    sent = 0
    for protocol in ("grpc", "http/protobuf", "http/json"):
        endpoint = f"https://{HOST}:{collector.grpc_port if protocol == 'grpc' else collector.http_port}"
        base = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        for name, extra, arrives in (
            ("with the CA and a client certificate", trusted, True),
            ("gzip as well", {**trusted, "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}, True),
            ("without a client certificate", {"OTEL_EXPORTER_OTLP_CERTIFICATE": files["ca.pem"]}, False),
            ("without the CA", {}, False),
        ):
            out = suite.folder / f"runs-tls-{protocol.replace('/', '-')}-{len(list(suite.folder.glob('runs-tls-*')))}"
            ran = suite.hotspan(
                "run", f"http://{HOST}:{port}/", "--rate", 20, "--duration", "1s", "--no-ui", "--traces-from", "none",
                "--out", out, env={**base, **extra},
            )  # fmt: skip
            if not suite.check(f"TLS, {protocol}, {name}: the run passes", ran.code == 0, str(ran)):
                continue
            export = read_report(run_folder(out))["telemetry"]["export"]
            # The run tells of itself, too, to whoever takes it.
            sent += export["spans_sent"] + (OF_THE_RUN if arrives else 0)
            suite.check(
                f"TLS, {protocol}, {name}: spans {'arrive' if arrives else 'are counted as dropped'}",
                (export["spans_sent"], export["spans_dropped"]) == ((20, 0) if arrives else (0, 20)),
                str(export),
            )
    accepted = until("counters", lambda: collector.count("otelcol_receiver_accepted_spans"))
    suite.check("TLS: the Collector has what was sent", accepted == sent, f"{accepted} of {sent}")
    collector.stop()
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    records = [
        record
        for line in lines
        for resource in line.get("resourceLogs", [])
        for scope in resource["scopeLogs"]
        for record in scope["logRecords"]
    ]
    names = sorted({record.get("eventName", "") for record in records})
    suite.check("start and end of each run arrive as events", names == ["hotspan.run.end", "hotspan.run.start"], str(names))
    suite.check("an event for each start and end, over every protocol", len(records) == 12, str(len(records)))


class Service:
    """The Go service whose spans are counted by itself."""

    def __init__(self, suite: Suite, protocol: str, endpoint: str):
        (self.port,) = free_ports(1)
        self.suite, self.name = suite, f"service-{protocol.replace('/', '-')}"
        command = [os.environ["HOTSPAN_SENDERS"] + "/sender"]
        self.process = suite.start(self.name, [*command, "serve", protocol, endpoint, f"{HOST}:{self.port}", CHILDREN])
        wait_for_port(self.port, self.process)

    def made(self) -> dict:
        """Ends it; what it says that it made."""
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(timeout=120)
        return json.loads(self.suite.log(self.name, 1))


def read_spans(folder) -> tuple:
    """Of the spans in a run folder, as hotspan reads them: how many by service, and the ids of the service's traces. (A
    run that exports over gRPC has a trace of its own, of which the folder may or may not have got a part in time.)"""
    process = subprocess.Popen(
        [hotspan_binary(), "spans", str(folder)], stdout=subprocess.PIPE, text=True, env=clean_environment()
    )
    counts: dict = {}
    ids = set()
    service, trace = re.compile(r'"service\.name":"([^"]*)"'), re.compile(r'"trace_id":"([0-9a-f]{32})"')
    for line in process.stdout:
        name = service.search(line).group(1)
        counts[name] = counts.get(name, 0) + 1
        if name == "sender":
            ids.add(trace.search(line, line.rindex('"trace_id"')).group(1))
    if process.wait(timeout=60) != 0:
        raise RuntimeError(f"hotspan spans ended with {process.returncode}")
    return counts, sorted(ids)


def one_round(suite: Suite, protocol: str) -> None:
    grpc = protocol == "grpc"
    tag = protocol.replace("/", "-")
    jaeger = Jaeger(suite, f"jaeger-{tag}")
    own_grpc, own_http = free_ports(2)
    kind = "otlp" if grpc else "otlphttp"
    collector = Collector(
        suite,
        f"collector-{tag}",
        {
            "processors": {"batch": {"timeout": "200ms", "send_batch_size": 512}},
            "exporters": {
                f"{kind}/hotspan": exporter(own_grpc if grpc else own_http, grpc),
                f"{kind}/jaeger": exporter(jaeger.grpc_port if grpc else jaeger.http_port, grpc),
            },
            "service": {
                "pipelines": {
                    "traces": {
                        "receivers": ["otlp"],
                        "processors": ["batch"],
                        "exporters": [f"{kind}/hotspan", f"{kind}/jaeger"],
                    }
                }
            },
        },
    )
    endpoint = collector.grpc if grpc else collector.http
    service = Service(suite, protocol, endpoint)
    exchanges = SPANS // (CHILDREN + 2)
    out = suite.folder / f"runs-{tag}"
    began = time.monotonic()
    ran = suite.hotspan(
        "run", f"http://{HOST}:{service.port}/", "--rate", exchanges / SECONDS, "--duration", f"{SECONDS}s", "--no-ui",
        "--out", out, "--otlp-grpc", f"{HOST}:{own_grpc}", "--otlp-http", f"{HOST}:{own_http}", "--wait", "120s",
        timeout=SECONDS + 300,
        env={
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint + ("" if grpc else "/v1/traces"),
        },
    )  # fmt: skip
    seconds = time.monotonic() - began
    if not suite.check(f"{protocol}: the run passes", ran.code == 0, str(ran)):
        print(ran)
    folder = run_folder(out)
    report, run = read_report(folder), json.loads((folder / "run.json").read_text())
    telemetry = report["telemetry"]
    receiver, export = run["receiver"], telemetry["export"]
    made = service.made()
    stored, ids = read_spans(folder)
    # The last spans are those of the run itself; the Collector hands them on a moment later.
    until(
        "the Collector sent all to Jaeger",
        lambda: collector.count("otelcol_exporter_sent_spans", f'{kind}/jaeger"')
        >= collector.count("otelcol_receiver_accepted_spans"),
        seconds=60.0,
    )
    accepted = collector.count("otelcol_receiver_accepted_spans")
    sent = {name: collector.count("otelcol_exporter_sent_spans", f'{kind}/{name}"') for name in ("hotspan", "jaeger")}
    lost = collector.count("otelcol_receiver_refused_spans") + collector.count("otelcol_exporter_send_failed_spans")
    print(
        f"    {protocol}: {telemetry['exchanges']} exchanges; the service made {made['made']} spans, hotspan sent "
        f"{export['spans_sent']} client spans; the Collector accepted {accepted}, sent {sent['hotspan']} to hotspan and "
        f"{sent['jaeger']} to Jaeger, lost {lost}; hotspan received {receiver['spans_received']}, stored "
        f"{receiver['spans_stored']}, rejected {receiver['spans_rejected']}, dropped {receiver['spans_dropped']}; "
        f"by service {stored}; joined {telemetry['joined']} of {telemetry['traced']}; {seconds:.0f} s"
    )
    suite.check(f"{protocol}: the service lost nothing of its own", made["failed"] == "", str(made))
    suite.check(f"{protocol}: nearly all due requests were sent", telemetry["exchanges"] >= exchanges * 0.99)
    for name, left, right in (
        ("the service made ten spans less one for each exchange", made["made"], telemetry["exchanges"] * (CHILDREN + 1)),
        ("hotspan sent a client span for each exchange", export["spans_sent"], telemetry["exchanges"]),
        ("the Collector accepted what both sent", accepted, made["made"] + export["spans_sent"] + OF_THE_RUN),
        ("the Collector lost nothing", lost, 0),
        ("the Collector sent all to Jaeger", sent["jaeger"], accepted),
        ("hotspan received what the Collector sent it", receiver["spans_received"], sent["hotspan"]),
        ("hotspan stored what it received", receiver["spans_stored"], receiver["spans_received"]),
        ("the run folder has every span of the service", stored.get("sender", 0), made["made"]),
        ("the run folder has nothing unknown", sorted(set(stored) - {"sender", "hotspan"}), []),
        ("every exchange is joined", telemetry["joined"], telemetry["exchanges"]),
    ):
        suite.check(f"{protocol}: {name}", left == right, f"{left}, {right}")
    in_jaeger(suite, protocol, jaeger, ids, telemetry["exchanges"])
    collector.stop()
    suite.stop(jaeger.process)


def in_jaeger(suite: Suite, protocol: str, jaeger: Jaeger, ids: list, exchanges: int) -> None:
    """Every trace (or 2,000 of them) is whole in Jaeger: the client's span, the server's below it, the children below that."""
    names = until("Jaeger knows both services", lambda: len(jaeger.services()) >= 2 and jaeger.services())
    suite.check(f"{protocol}: Jaeger has both services", sorted(names) == ["hotspan", "sender"], str(names))
    suite.check(f"{protocol}: a trace for each exchange", len(ids) == exchanges, f"{len(ids)}, {exchanges}")
    asked = ids[:: max(1, len(ids) // TRACES_MAX)][:TRACES_MAX]
    broken = []
    for trace_id in asked:
        spans = [each["span"] for each in jaeger.trace(trace_id)]
        roots = [span for span in spans if not span.get("parentSpanId")]
        servers = [span for span in spans if roots and span.get("parentSpanId") == roots[0]["spanId"]]
        below = [span for span in spans if servers and span.get("parentSpanId") == servers[0]["spanId"]]
        if (len(spans), len(roots), len(servers), len(below)) != (CHILDREN + 2, 1, 1, CHILDREN):
            broken.append((trace_id, len(spans), len(roots), len(servers), len(below)))
    print(f"    {protocol}: {len(asked)} traces asked of Jaeger, {len(broken)} not whole")
    suite.check(f"{protocol}: each trace is whole in Jaeger, the client's span on top", not broken, str(broken[:3]))


def main() -> int:
    with Suite("collector") as suite:
        with suite.case("configurations"):
            configurations(suite)
        with suite.case("TLS"):
            over_tls(suite)
        for protocol in ("grpc", "http/protobuf"):
            with suite.case(protocol):
                one_round(suite, protocol)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

"""The OpenTelemetry SDKs of Python, Node.js, Java, Go and Rust (and Ruby where it is installed) against hotspan's receiver: every protocol, plain and gzip. Each
sends the same spans at fixed times (`senders/`); what hotspan reads of them must be what was sent, field by field, and what
a real Collector reads of the same bytes. Ends with the interoperability table; HOTSPAN_SENDERS_TABLE=docs/traces.md writes it
there, between its two marks.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from harness import HERE, HOST, Suite, clean_environment, free_ports, hotspan_binary, run_folder, wait_for_port
from servers import Collector, exporter, until

T0, MS = 1_700_000_000_000_000_000, 1_000_000
LANGUAGES = ("Python", "Node.js", "Java", "Go", "Rust", "Ruby")
PROTOCOLS = ("grpc", "http/protobuf", "http/json")
ENCODINGS = ("none", "gzip")
# What each SDK has no exporter for.
ABSENT = {
    ("Python", "http/json"), ("Java", "http/json"), ("Go", "http/json"), ("Ruby", "http/json"), ("Ruby", "grpc"),
}  # fmt: skip
CALLER, STATE = "00f067aa0ba902b7", "vendor=x,other=y"


def command(language: str) -> list:
    folder = os.environ["HOTSPAN_SENDERS"]
    return {
        "Python": [sys.executable, HERE / "senders" / "send.py"],
        "Node.js": ["node", f"{folder}/node/send.mjs"],
        "Java": ["java", "-cp", f"{folder}/java/jars/*:{folder}/java/classes", "Send"],
        "Go": [f"{folder}/sender", "send"],
        "Rust": [f"{folder}/sender-rust"],
        "Ruby": ["ruby", HERE / "senders" / "send.rb"],
    }[language]


def installed(language: str) -> bool:
    """Whether the SDK is here. Ruby's comes from no registry that the suites install from: see docs/stack.md."""
    if language != "Ruby":
        return True
    probe = ["ruby", "-e", 'require "opentelemetry/sdk"; require "opentelemetry/exporter/otlp"']
    return shutil.which("ruby") is not None and subprocess.run(probe, capture_output=True, check=False).returncode == 0


def service_of(language: str, protocol: str, encoding: str) -> str:
    return f"{language} {protocol} {encoding}"


def trace_of(language: str, protocol: str, encoding: str) -> str:
    number = 1 + LANGUAGES.index(language) * 100 + PROTOCOLS.index(protocol) * 10 + ENCODINGS.index(encoding)
    return f"4bf92f3577b34da6{number:016x}"


def expected(service: str, trace_id: str) -> dict:
    """The spans as sent, by name, without ids that the SDK draws."""

    def span(kind, start, end, parent, **more):
        return {
            "trace_id": trace_id, "kind": kind, "start_ns": T0 + start * MS, "end_ns": T0 + end * MS, "parent": parent,
            "trace_state": STATE, "status": "unset", "status_message": "", "attributes": {}, "events": [], "links": [],
            "dropped": 0, "service": service, "deployment": 7, "scope": {"name": "sender", "version": "1.2.3"}, **more,
        }  # fmt: skip

    root = "GET /orders/{id}"
    return {
        root: span(
            "server", 0, 100, CALLER, status="error", status_message="went wrong",
            attributes={
                "text": "grün ✓", "flag": True, "whole": 9007199254740991, "negative": -42, "fraction": 0.5,
                "texts": ["a", "b"], "wholes": [1, 2, 3], "fractions": [0.5, 1.5], "flags": [True, False],
            },
            events=[{"at_ns": T0 + 5 * MS, "name": "happened", "attributes": {"n": 1}}],
            links=[{"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}],
        ),
        "work": span("internal", 10, 20, root),
        "SELECT orders": span(
            "client", 20, 40, root, status="ok",
            attributes={"db.system.name": "postgresql", "db.query.text": "SELECT * FROM orders WHERE id = $1"},
        ),
        "publish": span("producer", 40, 41, root),
        "take": span("consumer", 50, 60, root),
    }  # fmt: skip


def simplified(spans: list) -> dict:
    """hotspan's reading in the form of `expected`: parents by name."""
    names = {span["span_id"]: span["name"] for span in spans}
    result = {}
    for span in spans:
        kept = {key: span[key] for key in (
            "trace_id", "kind", "start_ns", "end_ns", "trace_state", "status", "status_message", "attributes", "events", "links",
            "dropped", "scope",
        )}  # fmt: skip
        kept["parent"] = names.get(span["parent_id"], span["parent_id"])
        kept["service"], kept["deployment"] = span["resource"]["service.name"], span["resource"]["deployment.number"]
        result[span["name"]] = kept
    return result


def send(suite: Suite, language: str, protocol: str, encoding: str, port: int, service: str, trace_id: str) -> bool:
    ran = subprocess.run(
        [*map(str, command(language)), protocol, encoding, f"http://{HOST}:{port}", service, f"00-{trace_id}-{CALLER}-01", STATE],
        env=clean_environment(), capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    return suite.check(f"{service}: the SDK says that all went well", ran.returncode == 0, (ran.stdout + ran.stderr)[-800:])


class Receiver:
    """hotspan with its receiver open; its load is one request a second on a server that needs none."""

    def __init__(self, suite: Suite):
        self.suite, self.out = suite, suite.folder / "runs"
        self.grpc, self.http = free_ports(2)
        (target,) = free_ports(1)
        wait_for_port(target, suite.start("target", [sys.executable, "-m", "http.server", target, "--bind", HOST]))
        self.process = suite.start(
            "hotspan",
            [
                hotspan_binary(), "run", f"http://{HOST}:{target}/", "--rate", 1, "--duration", "15m", "--no-ui", "--out", self.out,
                "--otlp-grpc", f"{HOST}:{self.grpc}", "--otlp-http", f"{HOST}:{self.http}", "--wait", "1s",
            ],
        )  # fmt: skip
        wait_for_port(self.grpc, self.process)
        wait_for_port(self.http, self.process)

    def spans(self) -> list:
        """Ends the run (Ctrl-C) and reads its folder."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(timeout=60)
        self.suite.check("hotspan ends with the status of an interrupted run", self.process.returncode == 130)
        ran = self.suite.hotspan("spans", run_folder(self.out))
        return [json.loads(line) for line in ran.out.splitlines()]


def value_of(value: dict):
    """An attribute's value in OTLP JSON as `hotspan spans` writes it."""
    ((kind, inner),) = value.items() if value else ((None, None),)
    if kind == "intValue":
        return int(inner)
    if kind == "arrayValue":
        return [value_of(each) for each in inner.get("values", [])]
    return inner


def attributes_of(holder: dict) -> dict:
    return {each["key"]: value_of(each["value"]) for each in holder.get("attributes", [])}


def as_the_collector_reads(lines: list) -> dict:
    """The spans of a file that the Collector wrote, in the form of `hotspan spans`, by their ids."""
    kinds = ("unspecified", "internal", "server", "client", "producer", "consumer")
    result = {}
    for line in lines:
        for resource in line["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    result[span["spanId"]] = {
                        "trace_id": span["traceId"], "span_id": span["spanId"], "parent_id": span.get("parentSpanId", ""),
                        "kind": kinds[span.get("kind", 0)], "name": span["name"],
                        "start_ns": int(span["startTimeUnixNano"]), "end_ns": int(span["endTimeUnixNano"]),
                        "status": ("unset", "ok", "error")[span.get("status", {}).get("code", 0)],
                        "status_message": span.get("status", {}).get("message", ""),
                        "trace_state": span.get("traceState", ""), "flags": span.get("flags", 0),
                        "resource": attributes_of(resource["resource"]),
                        "scope": {"name": scope["scope"]["name"], "version": scope["scope"].get("version", "")},
                        "attributes": attributes_of(span),
                        "events": [
                            {"at_ns": int(event["timeUnixNano"]), "name": event["name"], "attributes": attributes_of(event)}
                            for event in span.get("events", [])
                        ],
                        "links": [{"trace_id": link["traceId"], "span_id": link["spanId"]} for link in span.get("links", [])],
                        "dropped": sum(span.get(f"dropped{what}Count", 0) for what in ("Attributes", "Events", "Links")),
                    }  # fmt: skip
    return result


def cell(cells: dict, language: str, protocol: str, encoding: str) -> str:
    if (language, protocol) in ABSENT:
        return "no exporter"
    return cells.get((language, protocol, encoding), "not installed")


def table(cells: dict) -> None:
    print("    interoperability: spans as sent, read by hotspan, field by field")
    columns = [(protocol, encoding) for protocol in PROTOCOLS for encoding in ENCODINGS]
    print(f"    {'sender':<10}" + "".join(f"{f'{p} {e}':>21}" for p, e in columns))
    for language in LANGUAGES:
        print(f"    {language:<10}" + "".join(f"{cell(cells, language, p, e):>21}" for p, e in columns))
    if path := os.environ.get("HOTSPAN_SENDERS_TABLE"):
        write_table(Path(path), cells, columns)


def write_table(path: Path, cells: dict, columns: list) -> None:
    """Puts the table between its marks in a page; a sender that is not installed here keeps the row that it has."""
    begin, end = "<!-- interoperability -->", "<!-- /interoperability -->"
    before, rest = path.read_text().split(begin, 1)
    old, after = rest.split(end, 1)
    rows = {line.split("|")[1].strip(): line for line in old.splitlines() if line.startswith("| ")}
    lines = ["| sender | " + " | ".join(f"{p}, {e}" for p, e in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for language in LANGUAGES:
        texts = [cell(cells, language, p, e) for p, e in columns]
        row = f"| {language} | " + " | ".join(texts) + " |"
        lines.append(rows.get(language, row) if "not installed" in texts else row)
    path.write_text(before + begin + "\n" + "\n".join(lines) + "\n" + end + after)


def main() -> int:
    with Suite("senders") as suite:
        receiver = Receiver(suite)
        read = suite.folder / "collector.json"
        collector = Collector(
            suite, "collector",
            {
                "exporters": {"file": {"path": str(read)}, "otlp/hotspan": exporter(receiver.grpc)},
                "service": {"pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["file", "otlp/hotspan"]}}},
            },
        )  # fmt: skip
        cells, through = {}, []
        here = [language for language in LANGUAGES if installed(language)]
        for language in set(LANGUAGES) - set(here):
            print(f"    {language}: its SDK is not installed here; `cargo test` reads what it sent once (tests/payloads)")
        tried = [(l, p, e) for l in here for p in PROTOCOLS for e in ENCODINGS if (l, p) not in ABSENT]
        for language, protocol, encoding in tried:
            with suite.case(service_of(language, protocol, encoding)):
                port = receiver.grpc if protocol == "grpc" else receiver.http
                name = service_of(language, protocol, encoding)
                if not send(suite, language, protocol, encoding, port, name, trace_of(language, protocol, encoding)):
                    cells[(language, protocol, encoding)] = "FAILED"
            # Once for each SDK and protocol the same by way of the Collector, which writes down what it reads.
            if encoding == "none":
                with suite.case(f"{language} {protocol} through the Collector"):
                    port = collector.grpc_port if protocol == "grpc" else collector.http_port
                    through.append(f"via {language} {protocol}")
                    send(suite, language, protocol, encoding, port, through[-1], "5" + trace_of(language, protocol, encoding)[1:])
        until("the Collector has sent all", lambda: collector.count("otelcol_exporter_sent_spans", "otlp/hotspan") == 5 * len(through))
        collector.stop()
        spans = receiver.spans()
        for language, protocol, encoding in tried:
            name = service_of(language, protocol, encoding)
            got = simplified([span for span in spans if span["resource"].get("service.name") == name])
            want = expected(name, trace_of(language, protocol, encoding))
            wrong = {key: (got.get(key), want[key]) for key in want if got.get(key) != want[key]}
            good = suite.check(f"{name}: read as sent, field by field", not wrong and len(got) == 5, str(wrong)[:1500])
            cells[(language, protocol, encoding)] = cells.get((language, protocol, encoding), "5 of 5" if good else "WRONG")
        theirs = as_the_collector_reads([json.loads(line) for line in read.read_text().splitlines()])
        ours = {span["span_id"]: span for span in spans if span["resource"].get("service.name", "").startswith("via ")}
        suite.check("the Collector read five spans of each", len(theirs) == 5 * len(through), str(len(theirs)))
        suite.check("hotspan has the spans that the Collector has", set(ours) == set(theirs), f"{len(ours)}, {len(theirs)}")
        different = {key: (ours[key], theirs[key]) for key in set(ours) & set(theirs) if ours[key] != theirs[key]}
        suite.check("hotspan reads every field as the Collector reads it", not different, str(list(different.values())[:1])[:2000])
        table(cells)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

"""Records what the OpenTelemetry SDKs send (`senders/`) and how a real Collector decodes the same bytes, into
tests/payloads: `cargo test` then holds hotspan's decoding against the Collector's without any of them. Run when named:

    HOTSPAN_BIN=target/release/hotspan tests/stack/run payloads

A language whose SDK is not installed here keeps the files that it has. Ruby's is not installed by the suites: `gem install
opentelemetry-sdk opentelemetry-exporter-otlp`, or its sources in RUBYLIB.
"""

import http.server
import json
import sys
import threading
import time
import urllib.request
from concurrent import futures
from pathlib import Path

import grpc
from harness import HERE, HOST, Suite
from servers import Collector, until
from suite_senders import ABSENT, LANGUAGES, PROTOCOLS, installed, send, trace_of

PAYLOADS = HERE.parent / "payloads"


class Recorder:
    """Takes OTLP traces over gRPC and HTTP, and keeps the last message as it came."""

    def __init__(self) -> None:
        recorder = self
        self.last: "bytes | None" = None

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = b""
                if self.headers.get("transfer-encoding", "") == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(self.headers["content-length"]))
                recorder.last = body
                answer = b"{}" if "json" in self.headers["content-type"] else b""
                self.send_response(200)
                self.send_header("content-type", self.headers["content-type"])
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_) -> None:
                pass

        self.web = http.server.ThreadingHTTPServer((HOST, 0), Handler)
        self.web.daemon_threads = True
        threading.Thread(target=self.web.serve_forever, daemon=True).start()

        def export(message: bytes, _context) -> bytes:
            recorder.last = message
            return b""

        method = {"Export": grpc.unary_unary_rpc_method_handler(export)}
        self.rpc = grpc.server(futures.ThreadPoolExecutor(2))
        service = "opentelemetry.proto.collector.trace.v1.TraceService"
        self.rpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, method),))
        self.grpc_port = self.rpc.add_insecure_port(f"{HOST}:0")
        self.rpc.start()

    def port(self, protocol: str) -> int:
        return self.grpc_port if protocol == "grpc" else self.web.server_address[1]

    def stop(self) -> None:
        self.web.shutdown()
        self.rpc.stop(None)


def record(suite: Suite, recorder: Recorder, collector: Collector, written: Path, language: str, protocol: str) -> None:
    name = f"{language} {protocol}"
    recorder.last = None
    if not send(suite, language, protocol, "none", recorder.port(protocol), name, trace_of(language, protocol, "none")):
        return
    payload = recorder.last
    if not suite.check(f"{name}: a message came", payload is not None):
        return
    form = "json" if protocol == "http/json" else "x-protobuf"
    before = len(written.read_text().splitlines()) if written.exists() else 0
    request = urllib.request.Request(f"{collector.http}/v1/traces", payload, {"Content-Type": f"application/{form}"})
    urllib.request.urlopen(request, timeout=20).read()
    until("the Collector writes it", lambda: len(written.read_text().splitlines()) > before)
    time.sleep(0.1)
    line = json.loads(written.read_text().splitlines()[-1])
    stem = f"{language.replace('.', '').lower()}-{protocol.replace('/', '-')}"
    (PAYLOADS / f"{stem}.{'json' if form == 'json' else 'binpb'}").write_bytes(payload)
    (PAYLOADS / f"{stem}.collector.json").write_text(json.dumps(line, ensure_ascii=False, indent=1) + "\n")
    print(f"    {stem}: {len(payload)} bytes")


def main() -> int:
    with Suite("payloads") as suite:
        PAYLOADS.mkdir(exist_ok=True)
        recorder = Recorder()
        suite.on_end.append(recorder.stop)
        written = suite.folder / "collector.json"
        pipelines = {"traces": {"receivers": ["otlp"], "exporters": ["file"]}}
        config = {"exporters": {"file": {"path": str(written)}}, "service": {"pipelines": pipelines}}
        collector = Collector(suite, "collector", config)
        for language in LANGUAGES:
            if not installed(language):
                print(f"    {language}: its SDK is not installed here, so its files stay as they are")
                continue
            for protocol in PROTOCOLS:
                if (language, protocol) not in ABSENT:
                    with suite.case(f"{language} {protocol}"):
                        record(suite, recorder, collector, written, language, protocol)
        whole = list(PAYLOADS.glob("*.collector.json"))
        languages = {path.name.split("-")[0] for path in whole}
        suite.check("six languages are recorded", len(languages) >= 6, str(sorted(languages)))
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

"""A service that continues the trace and exports OTLP/JSON late, as an SDK's batch processor does: GET /basket, one statement.

Usage: late_shop.py PORT OTLP_URL
"""

import http.server
import json
import os
import sys
import threading
import time
import urllib.request

port, otlp = int(sys.argv[1]), sys.argv[2]
pending, lock = [], threading.Lock()


def attribute(key: str, value: str) -> dict:
    return {"key": key, "value": {"stringValue": value}}


def export() -> None:
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
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
        parts = self.headers.get("traceparent", "").split("-")
        if len(parts) != 4 or not int(parts[3], 16) & 1:
            return
        server, query = os.urandom(8).hex(), os.urandom(8).hex()
        base = {"traceId": parts[1]}
        route = [attribute("http.request.method", "GET"), attribute("http.route", "/basket")]
        statement = [attribute("db.system.name", "postgresql"), attribute("db.query.text", "SELECT * FROM basket WHERE id = $1")]
        spans = [
            base | {"spanId": server, "parentSpanId": parts[2], "kind": 2, "name": "GET /basket", "startTimeUnixNano": str(began),
                    "endTimeUnixNano": str(time.time_ns()), "attributes": route},
            base | {"spanId": query, "parentSpanId": server, "kind": 3, "name": "SELECT basket", "startTimeUnixNano": str(asked),
                    "endTimeUnixNano": str(answered), "attributes": statement},
        ]  # fmt: skip
        with lock:
            pending.extend(spans)

    def log_message(self, *_):
        pass


threading.Thread(target=export, daemon=True).start()
http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer).serve_forever()

"""Somebody else's API: a process of its own that sleeps, answers, and sends no spans."""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DELAY_SECONDS = {"similar": float(sys.argv[2]) / 1e3, "shipping": float(sys.argv[3]) / 1e3}


class Partner(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave in one segment each; without this, Nagle's algorithm and delayed acknowledgement add 40 ms.
    disable_nagle_algorithm = True

    def do_GET(self):
        kind = self.path.split("/")[1]
        if kind == "limited" and hash(time.monotonic_ns()) % 3 > 0:
            self.send_response(429)
            self.send_header("Retry-After", "0.08")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        time.sleep(DELAY_SECONDS.get(kind, 0.0))
        body = json.dumps({"kind": kind, "books": [1, 2, 3], "cents": 499}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Partner).serve_forever()

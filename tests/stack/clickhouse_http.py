"""ClickHouse's own engine (chDB) behind its HTTP interface, with the tables that the Collector's exporter makes.

chDB is the database as a library; a server is no package of a registry. This program is the interface alone: the query is the
body of a POST or `?query=`, `database=` is where names are looked up, user and password are headers, what goes wrong is an
exception's text with its code and the status that ClickHouse gives it.

Usage: clickhouse_http.py PORT FOLDER TEMPLATES USER PASSWORD   (TEMPLATES: the exporter's sqltemplates)
"""

import re
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from chdb import session

port, folder, templates, user, password = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4], sys.argv[5]
database = session.Session(folder)
lock = threading.Lock()
STATUS = {60: 404, 81: 404, 62: 400, 47: 404, 516: 403}


def make_tables() -> None:
    """As the exporter makes them at its start: %q and %s are filled in with its own defaults."""
    database.query("CREATE DATABASE IF NOT EXISTS otel")
    for name, values in (
        ("traces_table", ["`otel`", "`otel_traces`", "", "MergeTree()", ""]),
        ("traces_id_ts_lookup_table", ["otel", "otel_traces", "", "MergeTree()", ""]),
        ("traces_id_ts_lookup_mv", ["otel", "otel_traces", "", "otel", "otel_traces", "otel", "otel_traces"]),
    ):
        text, values = (templates / f"{name}.sql").read_text(), iter(values)
        database.query(re.sub(r"%[qs]", lambda _: next(values), text))


class Interface(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def do_GET(self):
        self.answer(b"")

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def answer(self, body: bytes) -> None:
        parameters = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        query = "\n".join([*parameters.get("query", []), body.decode()])
        if (self.headers.get("X-ClickHouse-User"), self.headers.get("X-ClickHouse-Key")) != (user, password):
            return self.give(403, b"Code: 516. DB::Exception: Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)\n")  # fmt: skip
        try:
            with lock:
                database.query(f"USE {parameters.get('database', ['default'])[0]}")
                result = database.query(query)
            self.give(200, bytes(result.bytes()) if result else b"")
        except Exception as problem:
            code = int((re.search(r"Code: (\d+)", str(problem)) or [0, 0])[1])
            self.give(STATUS.get(code, 500), f"{problem}\n".encode())

    def give(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


make_tables()
ThreadingHTTPServer(("127.0.0.1", port), Interface).serve_forever()

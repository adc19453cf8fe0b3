"""What hotspan sends over HTTP, as nginx and a proxy were sent it, and what it makes of their answers.

nginx writes a line of JSON for each request: protocol, TLS, server name, client certificate, connection, fields. The proxy is
the suite's own: it wants a password, opens tunnels, and notes what it was asked for. Every case runs a scenario and holds the
report against what the other side wrote down.
"""

import base64
import json
import os
import select
import socket
import subprocess
import sys
import threading
from email.parser import BytesParser
from pathlib import Path

from harness import Suite, free_ports, read_report, run_folder, wait_for_port

# {"id": 7, "name": "lamp", "text": "round and round …"}, 165 bytes, by the libraries brotli and zstandard.
PLAIN = b'{"id": 7, "name": "lamp", "text": "' + b"round and round " * 8 + b'"}'
BROTLI = "G6QAMJwHtm3y7KHewoBI2OQIld4iN3B7i60vQcjSikXHKQcaBqZV8++AeGB7ByCMkMiDDa7rTuGKQQ4XzFbWq6w="
ZSTD = "KLUv/SClvQEAtAJ7ImlkIjogNywgIm5hbWUiOiAibGFtcCIsICJ0ZXh0cm91bmQgYW5kICJ9AwANJNCC6LGmEw=="
CREDENTIALS = "Basic " + base64.b64encode(b"me:secret word").decode()

LOG = """log_format seen escape=json '{"protocol":"$server_protocol","method":"$request_method","uri":"$request_uri",'
        '"host":"$http_host","status":"$status","connection":"$connection","nth":"$connection_requests",'
        '"tls":"$ssl_protocol","resumed":"$ssl_session_reused","sni":"$ssl_server_name","client":"$ssl_client_s_dn",'
        '"accept_encoding":"$http_accept_encoding","content_encoding":"$sent_http_content_encoding",'
        '"bytes":"$body_bytes_sent","cookie":"$http_cookie","authorization":"$http_authorization",'
        '"proxy_authorization":"$http_proxy_authorization","traceparent":"$http_traceparent","length":"$http_content_length",'
        '"peer":"$remote_addr","hangs_up":"$http_connection"}';"""

LOCATIONS = """
        location = /gzip.json { root FOLDER/www; default_type application/json; gzip on; gzip_types application/json; gzip_min_length 1; }
        location = /br.json { root FOLDER/www; default_type application/json; add_header Content-Encoding br; }
        location = /zstd.json { root FOLDER/www; default_type application/json; add_header Content-Encoding zstd; }
        location = /bomb { root FOLDER/www; add_header Content-Encoding gzip; }
        location = /moved { return 301 /here; }
        location = /see { return 303 /here; }
        location = /kept { return 307 http://127.0.0.1:OTHER/taken?a=1; }
        location = /round { return 308 /round; }
        location = /login {
            add_header Set-Cookie "sid=s1; Path=/; HttpOnly; SameSite=Strict";
            add_header Set-Cookie "deep=d1; Path=/shop";
            add_header Set-Cookie "secure=x1; Path=/; Secure";
            add_header Set-Cookie "stranger=x2; Domain=example.org";
            add_header Set-Cookie "old=x3; Max-Age=0";
            return 200 "in";
        }
        location = /upload { client_body_in_file_only on; client_body_temp_path FOLDER/uploads; proxy_pass http://127.0.0.1:PLAIN/sink; }
        location / { return 200 "ok"; }
"""

CONFIG = """
daemon off;
worker_processes 1;
pid FOLDER/nginx.pid;
events { worker_connections 1024; }
http {
    LOG
    access_log FOLDER/seen.log seen;
    keepalive_requests 1000000;
    keepalive_timeout 60s;
    default_type text/plain;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    server { listen 127.0.0.1:PLAIN; listen unix:FOLDER/app.sock; LOCATIONS }
    server { listen 127.0.0.1:OTHER; LOCATIONS }
    server { listen 127.0.0.1:CLEAR2 http2; LOCATIONS }
    server {
        listen 127.0.0.1:TLS ssl http2;
        ssl_certificate FOLDER/server.pem;
        ssl_certificate_key FOLDER/server.key;
        ssl_client_certificate FOLDER/ca.pem;
        ssl_verify_client optional;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:sessions:1m;
        LOCATIONS
    }
    server {
        listen 127.0.0.1:OLD ssl;
        ssl_certificate FOLDER/server.pem;
        ssl_certificate_key FOLDER/server.key;
        ssl_protocols TLSv1.2;
        LOCATIONS
    }
}
"""


class Proxy:
    """A proxy that wants `me:secret word`; `heads` are those that it was sent."""

    def __init__(self, suite: Suite):
        self.heads: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        suite.on_end.append(self.listener.close)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        with client:
            peer = None
            pending = b""
            while True:
                while b"\r\n\r\n" not in pending:
                    more = client.recv(65536)
                    if not more:
                        return
                    pending += more
                head, pending = pending.split(b"\r\n\r\n", 1)
                text = head.decode()
                self.heads.append(text)
                if f"proxy-authorization: {CREDENTIALS}".lower() not in text.lower():
                    client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                    continue
                method, url, _ = text.split("\r\n")[0].split(" ")
                authority = url if method == "CONNECT" else url.split("/")[2]
                host, port = authority.rsplit(":", 1)
                address = "127.0.0.1" if host == "shop.example" else host
                if peer is None:
                    peer = socket.create_connection((address, int(port)), timeout=10)
                    for each in (client, peer):
                        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if method == "CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    return relay(client, peer)
                # The whole URL becomes a path, the password stays here, one answer with a length comes back.
                lines = [line for line in text.split("\r\n") if not line.lower().startswith("proxy-")]
                lines[0] = f"{method} {url.split(authority, 1)[1]} HTTP/1.1"
                peer.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
                client.sendall(answer_of(peer))


def relay(a: socket.socket, b: socket.socket) -> None:
    with b:
        while True:
            ready, _, _ = select.select([a, b], [], [], 30)
            if not ready:
                return
            for each in ready:
                # A client that is done may reset what it no longer reads.
                try:
                    data = each.recv(65536)
                    if not data:
                        return
                    (b if each is a else a).sendall(data)
                except (ConnectionResetError, BrokenPipeError):
                    return


def answer_of(peer: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += peer.recv(65536)
    head, body = data.split(b"\r\n\r\n", 1)
    length = next(int(line[15:]) for line in head.decode().split("\r\n") if line.lower().startswith("content-length:"))
    while len(body) < length:
        body += peer.recv(65536)
    return head + b"\r\n\r\n" + body


class Nginx:
    """The server, its ports, and what it was sent since the last look."""

    def __init__(self, suite: Suite):
        self.folder = suite.folder / "nginx"
        (self.folder / "www").mkdir(parents=True)
        (self.folder / "uploads").mkdir()
        os.chmod(self.folder / "uploads", 0o777)
        names = ("PLAIN", "OTHER", "CLEAR2", "TLS", "OLD")
        self.port = dict(zip(names, free_ports(len(names))))
        certificates(self.folder)
        www = self.folder / "www"
        (www / "gzip.json").write_bytes(PLAIN)
        (www / "br.json").write_bytes(base64.b64decode(BROTLI))
        (www / "zstd.json").write_bytes(base64.b64decode(ZSTD))
        import gzip

        (www / "bomb").write_bytes(gzip.compress(bytes(80 << 20)))
        text = CONFIG.replace("LOCATIONS", LOCATIONS).replace("LOG\n", LOG + "\n")
        for name, port in self.port.items():
            text = text.replace(f":{name}", f":{port}")
        config = self.folder / "nginx.conf"
        config.write_text(text.replace("FOLDER", str(self.folder)))
        nginx = os.environ.get("HOTSPAN_NGINX", "nginx")
        process = suite.start("nginx", [nginx, "-p", self.folder, "-c", config, "-e", self.folder / "error.log"])
        for port in self.port.values():
            wait_for_port(port, process)
        self.seen_bytes = 0

    def seen(self) -> list[dict]:
        """Requests since the last call, except those of `sink`, which nginx sends itself."""
        data = (self.folder / "seen.log").read_bytes()
        new, self.seen_bytes = data[self.seen_bytes :], len(data)
        lines = [json.loads(line) for line in new.decode().splitlines()]
        return [line for line in lines if line["uri"] != "/sink"]


def certificates(folder: Path) -> None:
    """An authority, a server named localhost and shop.example, and a client."""

    def openssl(*arguments) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=folder)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=suite authority")
    for name, subject in (("server", "localhost"), ("client", "load client")):
        openssl("req", *new_key[:-2], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={subject}")
        extensions = folder / f"{name}.ext"
        usage = "serverAuth\nsubjectAltName=DNS:localhost,DNS:shop.example,IP:127.0.0.1" if name == "server" else "clientAuth"
        extensions.write_text(f"basicConstraints=CA:FALSE\nextendedKeyUsage={usage}\n")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", extensions, "-out", f"{name}.pem",
        )  # fmt: skip


class Lab:
    """Runs scenarios beside nginx's files."""

    def __init__(self, suite: Suite, nginx: Nginx):
        self.suite, self.nginx, self.runs = suite, nginx, 0

    def run(self, name: str, text: str, code: int = 0, env: "dict | None" = None) -> tuple:
        """The report and nginx's lines; no report where the run was to fail at once."""
        self.runs += 1
        scenario = self.nginx.folder / f"case-{self.runs}.yaml"
        for port, number in self.nginx.port.items():
            text = text.replace(f":{port}", f":{number}")
        scenario.write_text(f"name: case\n{text}")
        out = self.suite.folder / f"runs-{self.runs}"
        grpc_port, http_port = free_ports(2)
        ran = self.suite.hotspan(
            "run", scenario, "--no-ui", "--out", out,
            "--otlp-grpc", f"127.0.0.1:{grpc_port}", "--otlp-http", f"127.0.0.1:{http_port}", env=env,
        )  # fmt: skip
        self.suite.check(f"{name}: exit code {code}", ran.code == code, str(ran))
        return (read_report(run_folder(out)) if code == 0 else ran.text), self.nginx.seen()

    def all(self, what: str, seen: list, holds) -> None:
        """Every request that nginx was sent is as it should be, and there are some."""
        wrong = [line for line in seen if not holds(line)]
        self.suite.check(what, bool(seen) and not wrong, f"{len(seen)} requests, wrong: {wrong[:2]}")

    def clean(self, name: str, report: dict, seen: list) -> None:
        """No errors, and nginx has seen exactly what the report counts."""
        steps = report["steps"]
        errors = [(step["name"], step["failures"], step["statuses"]) for step in steps if step["errors"]]
        self.suite.check(f"{name}: no errors", not errors, str(errors))
        counted = report["telemetry"]["exchanges"]
        self.suite.check(f"{name}: nginx was sent what is counted", counted == len(seen) > 0, f"{counted} and {len(seen)}")
        self.all(f"{name}: every request carries a trace", seen, lambda line: len(line["traceparent"]) == 55)


LOAD = "load: {rate: 40/s, for: 1s}\n"
USERS = "load: {users: 4, for: 1s}\nthink: 20ms\n"
IDENTITY = "certificate: client.pem, key: client.key, roots: ca.pem"


def keep_alive(lab: Lab) -> None:
    report, seen = lab.run("five requests", f"target: http://127.0.0.1:PLAIN\n{USERS}steps: [GET /a]\nhttp: {{keep_alive: 5}}\n")
    lab.clean("five requests", report, seen)
    lab.all("a connection carries five requests", seen, lambda line: int(line["nth"]) <= 5)
    lab.suite.check("and is used for all of them", max(int(line["nth"]) for line in seen) == 5)
    report, seen = lab.run("one request", f"target: http://127.0.0.1:PLAIN\n{LOAD}steps: [GET /a]\nhttp: {{keep_alive: false}}\n")
    lab.clean("one request", report, seen)
    lab.all("each request has its connection and says so", seen, lambda line: line["nth"] == "1" and line["hangs_up"] == "close")
    for version, most in (("1.1", 2), ("2", 2)):
        port = "PLAIN" if version == "1.1" else "CLEAR2"
        shared = f"http: {{version: {version}, connections: {{shared: 2}}}}\n"
        report, seen = lab.run(
            f"shared over {version}",
            f"target: http://127.0.0.1:{port}\nload: {{users: 10, for: 1s}}\nthink: 5ms\nsteps: [GET /a]\n{shared}",
        )
        lab.clean(f"shared over {version}", report, seen)
        connections = {line["connection"] for line in seen}
        lab.suite.check(f"ten users share two connections over {version}", 1 <= len(connections) <= most, str(connections))
    report, seen = lab.run(
        "per user", f"target: http://127.0.0.1:PLAIN\n{LOAD}steps: [GET /a, GET /b]\nhttp: {{connections: per_user}}\n"
    )
    lab.clean("per user", report, seen)
    lab.all("an arrival's second request is its connection's second", seen, lambda line: line["nth"] == {"/a": "1", "/b": "2"}[line["uri"]])
    report, seen = lab.run(
        "sources", f"target: http://127.0.0.1:PLAIN\n{LOAD}steps: [GET /a]\nhttp: {{source: [127.0.0.2, 127.0.0.3], keep_alive: false}}\n"
    )
    lab.clean("sources", report, seen)
    lab.suite.check("connections come from both addresses", {line["peer"] for line in seen} == {"127.0.0.2", "127.0.0.3"})


def versions_and_tls(lab: Lab) -> None:
    resolve = "resolve: {shop.example: 127.0.0.1}"
    for version, protocol in (("1.1", "HTTP/1.1"), ("auto", "HTTP/2.0"), ("2", "HTTP/2.0")):
        report, seen = lab.run(
            f"TLS, version {version}",
            f"target: https://shop.example:TLS\n{LOAD}steps: [GET /a]\nhttp: {{version: {version}, {resolve}, tls: {{{IDENTITY}}}}}\n",
        )
        lab.clean(f"TLS, version {version}", report, seen)
        lab.all(f"version {version} is {protocol} over TLS 1.3", seen, lambda line: (line["protocol"], line["tls"]) == (protocol, "TLSv1.3"))
        lab.all(f"version {version}: the client proves itself", seen, lambda line: line["client"] == "CN=load client")
        lab.all(f"version {version}: the server is asked for by name", seen, lambda line: line["sni"] == "shop.example")
        lab.suite.check(f"version {version}: no warning of certificates", "NOT checked" not in json.dumps(report))
    report, seen = lab.run(
        "another name",
        f"target: https://127.0.0.1:TLS\n{LOAD}steps: [GET /a]\nhttp: {{tls: {{{IDENTITY}, server_name: localhost, max: 1.2}}}}\n",
    )
    lab.clean("another name", report, seen)
    lab.all("the name and the version are those that are said", seen, lambda line: (line["sni"], line["tls"]) == ("localhost", "TLSv1.2"))
    for resume, marks in (("false", {"."}), ("true", {".", "r"})):
        report, seen = lab.run(
            f"resume: {resume}",
            f"target: https://127.0.0.1:TLS\n{LOAD}steps: [GET /a]\nhttp: {{keep_alive: false, tls: {{roots: ca.pem, resume: {resume}}}}}\n",
        )
        lab.clean(f"resume: {resume}", report, seen)
        lab.suite.check(f"resume: {resume} is what nginx sees", {line["resumed"] for line in seen} == marks, str(seen[:3]))
    report, seen = lab.run("clear HTTP/2", f"target: http://127.0.0.1:CLEAR2\n{LOAD}steps: [GET /a]\nhttp: {{version: 2}}\n")
    lab.clean("clear HTTP/2", report, seen)
    lab.all("HTTP/2 is spoken at once without TLS", seen, lambda line: line["protocol"] == "HTTP/2.0")
    report, seen = lab.run("no HTTP/2", f"target: https://127.0.0.1:OLD\n{LOAD}steps: [GET /a]\nhttp: {{version: auto, tls: {{roots: ca.pem}}}}\n")
    lab.all("without HTTP/2 there is HTTP/1.1", seen, lambda line: line["protocol"] == "HTTP/1.1")
    text, seen = lab.run("strangers", f"target: https://127.0.0.1:TLS\n{LOAD}steps: [GET /a]\n", code=1)
    lab.suite.check("a certificate of a stranger's authority is refused with advice", "roots" in text or "insecure: true" in text, text)
    text, _ = lab.run("too old", f"target: https://127.0.0.1:OLD\n{LOAD}steps: [GET /a]\nhttp: {{tls: {{roots: ca.pem, min: 1.3}}}}\n", code=1)
    lab.suite.check("a server that is too old is refused", "TLS handshake failed" in text, text)
    report, seen = lab.run("unchecked", f"target: https://127.0.0.1:TLS\n{LOAD}steps: [GET /a]\ninsecure: true\n")
    lab.clean("unchecked", report, seen)
    warnings = json.dumps(report["telemetry"]["warnings"])
    lab.suite.check("a certificate that nobody checks is a warning in the report", "NOT checked" in warnings, warnings)


def bodies(lab: Lab) -> None:
    checks = "expect: {json: {$.id: 7, $.name: lamp}}"
    accepts = "http: {accept_encoding: [gzip, br, zstd], decode: always}\n"
    steps = f"steps: [{{get: /gzip.json, {checks}}}, {{get: /br.json, {checks}}}, {{get: /zstd.json, {checks}}}]\n"
    for port, version in (("PLAIN", "1.1"), ("CLEAR2", "2")):
        name = f"compression over {version}"
        report, seen = lab.run(name, f"target: http://127.0.0.1:{port}\n{LOAD}{steps}{accepts.replace('{acc', f'{{version: {version}, acc')}")
        lab.clean(name, report, seen)
        lab.all(f"{name}: it is asked for", seen, lambda line: line["accept_encoding"] == "gzip, br, zstd")
        codings = {line["uri"]: line["content_encoding"] for line in seen}
        lab.suite.check(f"{name}: nginx compresses", codings == {"/gzip.json": "gzip", "/br.json": "br", "/zstd.json": "zstd"}, str(codings))
        for step in report["steps"]:
            sent = sum(int(line["bytes"]) for line in seen if line["uri"] in step["name"])
            kept = step["body_bytes"]
            whole = len(PLAIN) * step["exchanges"]
            if version == "1.1" and "gzip" in step["name"]:
                # nginx counts the framing of chunks, too.
                right = 0 < kept["received"] <= sent and kept["decoded"] == whole
            else:
                right = (kept["received"], kept["decoded"]) == (sent, whole)
            lab.suite.check(f"{name}: bytes as they came and as they became, {step['name']}", right, f"{kept}, {sent} sent, {whole}")
            named = {check["name"]: (check["passed"], check["failed"]) for check in step["checks"]}
            every = (step["exchanges"], 0)
            lab.suite.check(f"{name}: checks that passed are counted, {step['name']}", named.get("json $.id 7", named.get("json $.id == 7")) == every, str(named))
    report, _ = lab.run("a bomb", f"target: http://127.0.0.1:PLAIN\nload: {{rate: 5/s, for: 1s}}\nsteps: [GET /bomb]\nhttp: {{decode: always}}\n")
    failures = report["steps"][0]["failures"]
    lab.suite.check("80 MB of nothing in 80 kB are refused", [each["class"] for each in failures] == ["invalid_response"], str(failures))
    report, _ = lab.run("a cap", f"target: http://127.0.0.1:PLAIN\nload: {{rate: 5/s, for: 1s}}\nsteps: [GET /bomb]\nhttp: {{max_body: 10kB}}\n")
    failures = report["steps"][0]["failures"]
    lab.suite.check("a body beyond the cap is refused", [each["class"] for each in failures] == ["invalid_response"], str(failures))
    upload = os.urandom(300_000)
    (lab.nginx.folder / "upload.bin").write_bytes(upload)
    step = "{post: /upload, multipart: {who: 'user {{ user }}', file: {file: upload.bin, type: application/x-test}}}"
    for port, version in (("PLAIN", "1.1"), ("CLEAR2", "2")):
        for old in (lab.nginx.folder / "uploads").iterdir():
            old.unlink()
        report, seen = lab.run(f"upload over {version}", f"target: http://127.0.0.1:{port}\nload: {{users: 2, for: 500ms}}\nthink: 100ms\nsteps: [{step}]\nhttp: {{version: {version}}}\n")
        lab.clean(f"upload over {version}", report, seen)
        stored = [path.read_bytes() for path in (lab.nginx.folder / "uploads").iterdir()]
        whole = [body for body in stored if parts_of(body) and parts_of(body)[1] == upload and parts_of(body)[0].startswith(b"user ")]
        lab.suite.check(f"upload over {version}: every form arrives whole", len(whole) == len(seen) > 0, f"{len(whole)} of {len(stored)}")


def parts_of(body: bytes) -> list:
    """The parts of a form, as a MIME parser reads them."""
    boundary = body.split(b"\r\n", 1)[0][2:].decode()
    head = f'Content-Type: multipart/form-data; boundary="{boundary}"\r\n\r\n'.encode()
    parsed = BytesParser().parsebytes(head + body)
    return [part.get_payload(decode=True) for part in parsed.get_payload()] if parsed.is_multipart() else []


def redirects_and_cookies(lab: Lab) -> None:
    for port, version in (("PLAIN", "1.1"), ("CLEAR2", "2")):
        name = f"redirects over {version}"
        report, seen = lab.run(
            name,
            f"target: http://127.0.0.1:{port}\ntargets: {{other: {{url: 'http://127.0.0.1:OTHER', http: {{version: 1.1}}}}}}\n"
            "load: {rate: 5/s, for: 1s}\nheaders: {Authorization: Bearer abcd}\nfollow: true\n"
            f"steps: [POST /moved, {{post: /see, json: {{a: 1}}}}, {{post: /kept, json: {{a: 1}}}}]\nhttp: {{version: {version}}}\n",
        )
        lab.clean(name, report, seen)
        walk = [(line["method"], line["uri"], line["authorization"], line["length"]) for line in seen]
        wanted = {
            ("POST", "/moved", "Bearer abcd", "0"),
            ("GET", "/here", "Bearer abcd", ""),
            ("POST", "/see", "Bearer abcd", "7"),
            ("POST", "/kept", "Bearer abcd", "7"),
            ("POST", "/taken?a=1", "", "7"),
        }
        lab.suite.check(f"{name}: methods, bodies and secrets are as they should be", set(walk) == wanted, str(set(walk) ^ wanted))
        checks = {check["name"]: check["passed"] for check in report["steps"][0]["checks"]}
        lab.suite.check(f"{name}: a hop has no checks", checks["status"] == 5, str(checks))
    report, seen = lab.run("a circle", "target: http://127.0.0.1:PLAIN\nload: {rate: 5/s, for: 1s}\nfollow: 3\nsteps: [GET /round]\n")
    failures = report["steps"][0]["failures"]
    lab.suite.check("a circle is left after three hops and is a failure", len(seen) == 20 and failures[0]["count"] == 5, f"{len(seen)}, {failures}")
    report, seen = lab.run("cookies", f"target: http://shop.example:PLAIN\n{LOAD}http: {{resolve: {{shop.example: 127.0.0.1}}}}\nsteps: [GET /login, GET /a, GET /shop/b]\n")
    lab.clean("cookies", report, seen)
    sent = {(line["uri"], line["cookie"]) for line in seen}
    wanted = {("/login", ""), ("/a", "sid=s1"), ("/shop/b", "deep=d1; sid=s1")}
    lab.suite.check("cookies go where a browser would send them", sent == wanted, str(sent))


def sockets_and_proxies(lab: Lab, proxy: Proxy) -> None:
    report, seen = lab.run("UNIX socket", f"target: http://shop.example\n{LOAD}steps: [GET /a]\nhttp: {{unix: app.sock}}\n")
    lab.clean("UNIX socket", report, seen)
    lab.all("the socket is asked under the URL's name", seen, lambda line: (line["host"], line["peer"]) == ("shop.example", "unix:"))
    secret = {"PROXY_PASSWORD": "secret word"}
    says = f"secrets: {{word: {{env: PROXY_PASSWORD}}}}\nhttp: {{TLSproxy: {{url: 'http://127.0.0.1:{proxy.port}', user: me, password: '{{{{ secret.word }}}}'MORE}}}}\n"
    plain = says.replace("TLS", "")
    report, seen = lab.run("proxy", f"target: http://127.0.0.1:PLAIN\n{LOAD}steps: [GET /a]\n{plain.replace('MORE', '')}", env=secret)
    lab.clean("proxy", report, seen)
    target = f"127.0.0.1:{lab.nginx.port['PLAIN']}"
    lines = {head.split("\r\n")[0] for head in proxy.heads}
    lab.suite.check("the proxy is asked for whole URLs", lines == {f"GET http://{target}/a HTTP/1.1"}, str(lines))
    lab.suite.check("the password is in no file of the run", "secret word" not in json.dumps(report) and CREDENTIALS not in json.dumps(report))
    proxy.heads.clear()
    report, seen = lab.run("tunnel", f"target: http://127.0.0.1:PLAIN\n{LOAD}steps: [GET /a]\n{plain.replace('MORE', ', tunnel: true')}", env=secret)
    lab.clean("tunnel", report, seen)
    lines = {head.split("\r\n")[0] for head in proxy.heads}
    lab.suite.check("a tunnel is opened where it is wanted", lines == {f"CONNECT {target} HTTP/1.1"}, str(lines))
    lab.all("the password stays at the proxy", seen, lambda line: line["proxy_authorization"] == "")
    for version, protocol in (("1.1", "HTTP/1.1"), ("2", "HTTP/2.0")):
        proxy.heads.clear()
        through = says.replace("TLS", f"version: {version}, keep_alive: false, tls: {{{IDENTITY}}}, ").replace("MORE", "")
        report, seen = lab.run(f"TLS through the proxy, {version}", f"target: https://localhost:TLS\n{LOAD}steps: [GET /a]\n{through}", env=secret)
        lab.clean(f"TLS through the proxy, {version}", report, seen)
        lab.all(f"TLS through the proxy is the client's own, {version}", seen, lambda line: (line["protocol"], line["client"]) == (protocol, "CN=load client"))
        lines = {head.split("\r\n")[0] for head in proxy.heads}
        lab.suite.check(f"the proxy is asked for a tunnel, {version}", lines == {f"CONNECT localhost:{lab.nginx.port['TLS']} HTTP/1.1"}, str(lines))
        parts = {each["name"]: each["mean_ms"] for each in report["steps"][0]["contributors"] if each["category"] == "connection"}
        lab.suite.check(f"tunnel and handshake belong to `connection`, {version}", all(parts.get(name) for name in ("TCP connect", "TLS handshake")), str(parts))
    proxy.heads.clear()
    report, seen = lab.run("no proxy", f"target: http://127.0.0.1:PLAIN\n{LOAD}steps: [GET /a]\n{plain.replace('MORE', ', no_proxy: [127.0.0.0/8]')}", env=secret)
    lab.clean("no proxy", report, seen)
    lab.suite.check("hosts under no_proxy are reached without", not proxy.heads)
    environment = {"http_proxy": f"http://127.0.0.1:{proxy.port}"}
    _, seen = lab.run("environment", f"target: http://127.0.0.1:PLAIN\n{LOAD}steps: [GET /a]\n", env=environment)
    lab.suite.check("the environment's proxy is not used unasked", not proxy.heads and len(seen) == 40)
    report, seen = lab.run("environment", f"target: http://127.0.0.1:PLAIN\n{LOAD}steps: [GET /a]\nhttp: {{proxy: env}}\n", env=environment)
    statuses = report["steps"][0]["statuses"]
    lab.suite.check("and is where it is asked for", statuses == {"407": 40} and not seen, str(statuses))
    text, _ = lab.run("wrong password", f"target: https://localhost:TLS\n{LOAD}steps: [GET /a]\nhttp: {{proxy: 'http://127.0.0.1:{proxy.port}', tls: {{roots: ca.pem}}}}\n", code=1)
    lab.suite.check("a proxy that wants to know who asks is said", "407" in text and "through the proxy" in text, text)


def main() -> int:
    with Suite("protocols") as suite:
        lab = Lab(suite, Nginx(suite))
        proxy = Proxy(suite)
        lab.nginx.seen()
        with suite.case("keep-alive"):
            keep_alive(lab)
        with suite.case("versions and TLS"):
            versions_and_tls(lab)
        with suite.case("bodies"):
            bodies(lab)
        with suite.case("redirects and cookies"):
            redirects_and_cookies(lab)
        with suite.case("sockets and proxies"):
            sockets_and_proxies(lab, proxy)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

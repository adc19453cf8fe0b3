"""`--forward` to peers that are dead, slow, busy, broken or half there. The sender of spans must not notice, nothing may be
lost within the queue's cap, what is beyond it is counted, and what waits is sent when the peer is back, or by the next
process.

HOTSPAN_FORWARD_SECONDS (default 12) is how long each peer misbehaves; 300 makes it the five minutes of an outage.
"""

import http.client
import http.server
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from harness import Suite, clean_environment, free_ports, hotspan_binary, wait_for_port
from suite_bad_otlp import request, span

SECONDS = float(os.environ.get("HOTSPAN_FORWARD_SECONDS", "12"))
RATE = 40
BATCH = 10


class Collect:
    """`hotspan collect`, whose ledger is read at its end."""

    def __init__(self, suite: Suite, name: str, *arguments, http_port: "int | None" = None):
        self.http = http_port or free_ports(1)[0]
        (grpc,) = free_ports(1)
        self.out = suite.folder / name
        self.log = open(suite.folder / f"{name}.err", "ab")
        self.process = subprocess.Popen(
            [
                hotspan_binary(), "collect", "--otlp-grpc", f"127.0.0.1:{grpc}", "--otlp-http", f"127.0.0.1:{self.http}",
                "--out", str(self.out), "--quiet", "--format", "json", *map(str, arguments),
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, env=clean_environment(), start_new_session=True,
        )  # fmt: skip
        suite.on_end.append(self.kill)
        wait_for_port(self.http, self.process)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def finish(self) -> dict:
        self.process.send_signal(signal.SIGINT)
        out, _ = self.process.communicate(timeout=60)
        return json.loads(out)


class Sender:
    """Sends batches at a steady rate and notes how long each answer took."""

    def __init__(self, port: int, first: int = 1):
        self.port, self.sent, self.slowest, self.late, self.bad = port, 0, 0.0, 0, 0
        self.next = first

    def run(self, seconds: float) -> None:
        end, due = time.monotonic() + seconds, time.monotonic()
        stream = socket.create_connection(("127.0.0.1", self.port))
        while time.monotonic() < end:
            body = request(*(span(span_id=struct.pack(">Q", self.next + n)) for n in range(BATCH)))
            self.next += BATCH
            began = time.monotonic()
            stream.sendall(
                b"POST /v1/traces HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-protobuf\r\ncontent-length: "
                + str(len(body)).encode() + b"\r\n\r\n" + body
            )  # fmt: skip
            answer = stream.recv(65536)
            self.bad += not answer.startswith(b"HTTP/1.1 200")
            took = time.monotonic() - began
            self.slowest = max(self.slowest, took)
            self.late += took > 1.0
            self.sent += BATCH
            due += 1 / RATE
            time.sleep(max(0.0, due - time.monotonic()))
        stream.close()


class Peer:
    """An OTLP/HTTP peer that misbehaves for a while and then hands everything to a receiver that keeps it."""

    def __init__(self, suite: Suite, mode: str, keeper: int):
        peer = self
        self.mode, self.requests, self.refused = mode, 0, 0

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                peer.requests += 1
                if peer.mode == "slow":
                    time.sleep(1.5)
                elif peer.mode in ("429", "503"):
                    peer.refused += 1
                    self.send_response(int(peer.mode))
                    if peer.mode == "429":
                        self.send_header("retry-after", "1")
                    self.send_header("content-length", "0")
                    self.end_headers()
                    return
                elif peer.mode == "reset":
                    peer.refused += 1
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True
                    self.connection.close()
                    return
                connection = http.client.HTTPConnection("127.0.0.1", keeper, timeout=20)
                connection.request("POST", self.path, body, {"content-type": self.headers["content-type"]})
                answer = connection.getresponse()
                data = answer.read()
                connection.close()
                self.send_response(answer.status)
                self.send_header("content-type", answer.headers.get("content-type", ""))
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_) -> None:
                pass

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (OSError, ValueError):
                    self.close_connection = True

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        suite.on_end.append(self.server.shutdown)


def wait_until(holds, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.2)
    return False


def unnoticed(suite: Suite, name: str, sender: Sender) -> None:
    suite.check(f"{name}: every batch is answered well", sender.bad == 0, f"{sender.bad} were not")
    suite.check(f"{name}: no answer takes a second", sender.late == 0, f"{sender.late}, the slowest {sender.slowest:.2f} s")


def misbehaving(suite: Suite, mode: str) -> None:
    keeper = Collect(suite, f"keeper-{mode}")
    peer = Peer(suite, mode, keeper.http)
    near = Collect(suite, f"near-{mode}", "--forward", f"http://127.0.0.1:{peer.port}")
    sender = Sender(near.http)
    sender.run(SECONDS)
    peer.mode = "good"
    sender.run(3)
    unnoticed(suite, mode, sender)
    # The pause after failures is at most 30 s; what is left at the end has 10 s more.
    wait_until(lambda: peer.requests - peer.refused >= sender.sent / BATCH, 60)
    ledger, kept = near.finish(), keeper.finish()
    forward = ledger["forward"]
    suite.check(f"{mode}: all is stored", ledger["spans"]["stored"] == sender.sent, str(ledger))
    suite.check(f"{mode}: all is handed on, nothing dropped", (forward["forwarded"], forward["dropped"]) == (sender.sent, 0), str(forward))
    suite.check(f"{mode}: all has arrived, once", kept["spans"]["stored"] == sender.sent, str(kept))
    suite.check(f"{mode}: both ledgers add up", ledger["spans"]["unknown"] == kept["spans"]["unknown"] == 0)
    if mode in ("429", "503", "reset"):
        # Pauses double from a quarter of a second: a handful of tries, not one for each message.
        suite.check(f"{mode}: the peer is not hammered", peer.refused <= 16 + SECONDS, str(peer.refused))


def dead(suite: Suite) -> None:
    (port,) = free_ports(1)
    near = Collect(suite, "near-dead", "--forward", f"http://127.0.0.1:{port}")
    sender = Sender(near.http)
    sender.run(SECONDS)
    keeper = Collect(suite, "keeper-dead", http_port=port)
    sender.run(2)
    unnoticed(suite, "dead", sender)

    def arrived() -> bool:
        size = sum(path.stat().st_size for path in keeper.out.rglob("*.seg"))
        return size > sender.sent * 150

    wait_until(arrived, 60)
    ledger, kept = near.finish(), keeper.finish()
    forward = ledger["forward"]
    suite.check("dead, then back: all is handed on", (forward["forwarded"], forward["dropped"], forward["waiting"]) == (sender.sent, 0, 0), str(forward))
    suite.check("dead, then back: all has arrived", kept["spans"]["stored"] == sender.sent, str(kept))
    suite.check("dead, then back: the queue is gone", not (near.out / "forward-queue").exists())


def over_the_cap(suite: Suite) -> None:
    (port,) = free_ports(1)
    arguments = ["--forward", f"http://127.0.0.1:{port}", "--forward-queue", "200kB"]
    near = Collect(suite, "near-cap", *arguments)
    # More than fits into memory and into the folder together.
    sender = Sender(near.http)
    stream = socket.create_connection(("127.0.0.1", near.http))
    for n in range(400):
        body = request(*(span(span_id=struct.pack(">Q", 1 + n * 400 + m)) for m in range(400)))
        head = b"POST /v1/traces HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-protobuf\r\ncontent-length: "
        stream.sendall(head + str(len(body)).encode() + b"\r\n\r\n" + body)
        stream.recv(65536)
        sender.sent += 400
    stream.close()
    ledger = near.finish()
    forward = ledger["forward"]
    total = forward["forwarded"] + forward["dropped"] + forward["waiting"]
    suite.check("cap: what is beyond it is dropped and counted", forward["dropped"] > 0 and total == sender.sent, str(forward))
    suite.check("cap: all is stored all the same", ledger["spans"]["stored"] == sender.sent, str(ledger["spans"]))
    size = sum(path.stat().st_size for path in (near.out / "forward-queue").glob("*.seg"))
    suite.check("cap: the queue keeps within it", 0 < size <= 200_000, str(size))
    keeper = Collect(suite, "keeper-cap", http_port=port)
    again = subprocess.run(
        [
            hotspan_binary(), "collect", "--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--out", str(near.out), "--quiet",
            "--format", "json", "--duration", "1s", *arguments,
        ],
        capture_output=True, text=True, timeout=60, env=clean_environment(),
    )  # fmt: skip
    sent = json.loads(again.stdout)["forward"]["forwarded"]
    kept = keeper.finish()["spans"]["stored"]
    suite.check("what waited is sent by the next process", sent == kept == forward["waiting"], f"{sent}, {kept} of {forward['waiting']}")


def half_open(suite: Suite) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        near = Collect(suite, "near-half", "--forward", f"http://127.0.0.1:{listener.getsockname()[1]}")
        sender = Sender(near.http)
        sender.run(SECONDS)
        unnoticed(suite, "half-open", sender)
        ledger = near.finish()
    forward = ledger["forward"]
    suite.check("half-open: all waits on disk", (forward["waiting"], forward["dropped"]) == (sender.sent, 0), str(forward))


def main() -> int:
    with Suite("forward") as suite:
        for mode in ("slow", "429", "503", "reset"):
            with suite.case(mode):
                misbehaving(suite, mode)
        for case in (dead, half_open, over_the_cap):
            with suite.case(case.__name__):
                case(suite)
        return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

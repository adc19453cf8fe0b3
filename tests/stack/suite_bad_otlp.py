"""Bad OTLP: some four hundred inputs that no good exporter sends, each with the answer that the OTLP specification (and
HTTP) asks for. After each group the next good request is served, the receiver's memory is where it was, and in the end the
ledger adds up.
"""

import gzip
import http.client
import json
import os
import random
import signal
import socket
import struct
import sys
import time
import zlib
from pathlib import Path

from harness import Suite, clean_environment, free_ports, hotspan_binary, wait_for_port

TRACES, METRICS, LOGS = "/v1/traces", "/v1/metrics", "/v1/logs"
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
LIMIT = 64 << 20


# --- protobuf by hand ---------------------------------------------------------------------------------------------------


def varint(n: int) -> bytes:
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def fixed64(number: int, n: int) -> bytes:
    return varint(number << 3 | 1) + struct.pack("<Q", n)


def attribute(number: int, key: bytes, value: bytes) -> bytes:
    return field(number, field(1, key) + field(2, field(1, value)))


def span(trace_id: bytes = b"\1" * 16, span_id: bytes = b"\2" * 8, more: bytes = b"") -> bytes:
    body = field(1, trace_id) + field(2, span_id) + field(4, b"\3" * 8) + field(5, b"GET /") + b"\x30\x02"
    body += fixed64(7, 1) + fixed64(8, 2) + attribute(9, b"http.route", b"/") + b"\x50\x01"
    body += field(11, fixed64(1, 1) + field(2, b"exception") + attribute(3, b"k", b"v"))
    body += field(13, field(1, b"\4" * 16) + field(2, b"\5" * 8)) + field(15, field(2, b"no") + b"\x18\x02")
    return body + more


def request(*spans: bytes) -> bytes:
    resource = field(1, attribute(1, b"service.name", b"shop"))
    return field(1, resource + field(2, field(1, field(1, b"lib")) + b"".join(field(2, each) for each in spans)))


def metrics() -> bytes:
    point = fixed64(2, 1) + fixed64(3, 2) + fixed64(6, 7) + attribute(7, b"pool", b"main")
    metric = field(1, b"pending") + field(3, b"1") + field(5, field(1, point))
    return field(1, field(1, attribute(1, b"service.name", b"shop")) + field(2, field(2, metric)))


def logs() -> bytes:
    record = fixed64(1, 1) + b"\x10\x11" + field(3, b"ERROR") + field(5, field(1, b"x")) + field(9, b"\1" * 16)
    return field(1, field(1, attribute(1, b"service.name", b"shop")) + field(2, field(2, record)))


def is_sound(data: bytes, kinds: dict) -> bool:
    """Whether bytes are a message whose fields have these wire types, nested ones as named; an oracle in a few lines."""
    at = 0

    def number() -> "int | None":
        nonlocal at
        value, shift = 0, 0
        while at < len(data) and shift < 70:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        return None

    while at < len(data):
        key = number()
        if key is None or key >> 3 == 0:
            return False
        wire, kind = key & 7, kinds.get(key >> 3)
        if wire == 0:
            if number() is None:
                return False
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
            if at > len(data):
                return False
        elif wire == 2:
            length = number()
            if length is None or at + length > len(data):
                return False
            if isinstance(kind, dict) and not is_sound(data[at : at + length], kind):
                return False
            at += length
        else:
            return False
        expected = 2 if isinstance(kind, dict) else kind
        if expected is not None and expected != wire:
            return False
    return True


VALUE = {1: 2}
PAIR = {1: 2, 2: VALUE}
SPAN = {
    1: 2, 2: 2, 3: 2, 4: 2, 5: 2, 6: 0, 7: 1, 8: 1, 9: PAIR, 10: 0, 11: {1: 1, 2: 2, 3: PAIR, 4: 0}, 12: 0,
    13: {1: 2, 2: 2}, 14: 0, 15: {2: 2, 3: 0}, 16: 5,
}  # fmt: skip


# --- asking -------------------------------------------------------------------------------------------------------------


class Receiver:
    def __init__(self, suite: Suite, name: str = "collect", before: tuple = ()):
        self.suite = suite
        self.grpc, self.http = free_ports(2)
        self.out = suite.folder / f"runs-{name}"
        self.process = suite.start(
            name,
            [
                *before, hotspan_binary(), "collect", "--otlp-grpc", f"127.0.0.1:{self.grpc}", "--otlp-http", f"127.0.0.1:{self.http}",
                "--out", self.out, "--quiet", "--format", "json",
            ],
            env=clean_environment(),
        )  # fmt: skip
        wait_for_port(self.http, self.process)
        self.good = 0

    def post(self, path: str, headers: dict, body: bytes, method: str = "POST", timeout: float = 20.0) -> tuple:
        """Status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def raw(self, data: bytes, seconds: float = 10.0) -> bytes:
        """What comes back on a connection of its own.

        A server that has answered and closes while bytes are still on their way resets the connection, and its answer may be
        lost with them: that is asked again, a few times."""
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", self.http), timeout=seconds) as stream:
                answer, broken = b"", False
                try:
                    # A peer that has answered and closed does not take the rest; its answer may be there all the same.
                    try:
                        stream.sendall(data)
                        stream.shutdown(socket.SHUT_WR)
                    except OSError:
                        broken = True
                    while more := stream.recv(65536):
                        answer += more
                except (ConnectionResetError, BrokenPipeError):
                    broken = True
                except OSError:
                    pass
                if answer or not broken:
                    return answer
        return b""

    def served(self) -> bool:
        """A good request is answered well."""
        self.good += 1
        body = request(span(span_id=struct.pack(">Q", 1_000_000 + self.good)))
        return self.post(TRACES, PROTOBUF, body)[0] == 200

    def memory(self) -> int:
        """Resident MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) // 1024


def rejected(body: bytes) -> int:
    """`rejected_spans` of an answer in protobuf."""
    return body[3] if body[:1] == b"\x0a" and len(body) > 3 and body[2] == 8 else 0


def ask(receiver: Receiver, group: str, cases: list) -> None:
    """Each case: name, path, headers, body, status, and what else must hold of the answer, if anything."""
    wrong, slowest = [], 0.0
    for name, path, headers, body, status, *also in cases:
        began = time.monotonic()
        try:
            seen, answer_headers, answer = receiver.post(path, headers, body)
        except (OSError, http.client.HTTPException) as error:
            wrong.append(f"{name}: {type(error).__name__} {error}")
            continue
        slowest = max(slowest, time.monotonic() - began)
        wanted = status if isinstance(status, tuple) else (status,)
        if seen not in wanted:
            wrong.append(f"{name}: {seen} instead of {status}")
        elif also and not also[0](answer_headers, answer):
            wrong.append(f"{name}: answer {answer_headers} {answer[:80]!r}")
        elif seen == 400 and path in (TRACES, METRICS, LOGS):
            mime = headers.get("content-type", "").split(";")[0]
            if answer_headers.get("content-type") != mime or not answer:
                wrong.append(f"{name}: the error is not in the request's language: {answer_headers}")
    receiver.suite.check(f"{group}: {len(cases)} inputs are answered as specified", not wrong, "; ".join(wrong[:5]))
    receiver.suite.check(f"{group}: the next request is served", receiver.served())
    COUNT[0] += len(cases)


COUNT = [0]


# --- groups -------------------------------------------------------------------------------------------------------------


def truncations(receiver: Receiver) -> None:
    whole = request(span())
    cases = [(f"message cut at {n}", TRACES, PROTOBUF, whole[:n], 400) for n in range(1, len(whole), 3)]
    body = span()
    for n in range(len(body)):
        sound = is_sound(body[:n], SPAN)
        # With both ids the span is kept, else it alone is rejected: 18 and 10 bytes are the ids' fields.
        count = 0 if n >= 28 else 1
        holds = (lambda count: lambda _, answer: rejected(answer) == count)(count) if sound else (lambda *_: True)
        # The second id makes each case's span a new one.
        cut = body[:18] + field(2, struct.pack(">Q", 5_000 + n)) + body[28:n] if n >= 28 else body[:n]
        cases.append((f"span cut at {n}", TRACES, PROTOBUF, request(cut), 200 if sound else 400, holds))
    for path, whole in ((METRICS, metrics()), (LOGS, logs())):
        cases += [(f"{path} cut at {n}", path, PROTOBUF, whole[:n], 400) for n in range(1, len(whole), 4)]
    ask(receiver, "truncations", cases)


def ids(receiver: Receiver) -> None:
    one = lambda _, answer: rejected(answer) == 1  # noqa: E731
    cases = [
        (f"trace id of {n} bytes", TRACES, PROTOBUF, request(span(b"\1" * n, b"\7" * 8)), 200, one)
        for n in [*range(0, 16), 17, 24, 32]
    ]
    cases += [
        (f"span id of {n} bytes", TRACES, PROTOBUF, request(span(b"\1" * 16, b"\7" * n)), 200, one)
        for n in [*range(0, 8), 9, 16]
    ]
    cases += [
        ("trace id of zeros", TRACES, PROTOBUF, request(span(bytes(16))), 200, one),
        ("span id of zeros", TRACES, PROTOBUF, request(span(b"\1" * 16, bytes(8))), 200, one),
        ("one of two without ids", TRACES, PROTOBUF, request(span(span_id=b"\x11" * 8), b""), 200, one),
        ("parent of a wrong length", TRACES, PROTOBUF, request(span(span_id=b"\x12" * 8, more=field(4, b"xx"))), 200,
         lambda _, answer: answer == b""),
    ]  # fmt: skip

    def in_json(trace: str, own: str) -> bytes:
        return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": trace, "spanId": own}]}]}]}).encode()

    def json_rejected(count: int):
        def holds(_, answer: bytes) -> bool:
            partial = json.loads(answer).get("partialSuccess", {})
            return int(partial.get("rejectedSpans", 0)) == count

        return holds

    good, own = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
    for name, trace, span_id, count in [
        ("both good", good, own, 0), ("upper case", good.upper(), own.upper()[:-1] + "5", 0), ("empty trace", "", own, 1),
        ("empty span", good, "", 1), ("zero trace", "0" * 32, own, 1), ("zero span", good, "0" * 16, 1),
        ("odd trace", good[:-1], own, 1), ("no hex", "z" * 32, own, 1), ("long span", good, own * 2, 1),
        ("short span", good, own[:8], 1),
    ]:  # fmt: skip
        cases.append((f"JSON, {name}", TRACES, JSON, in_json(trace, span_id), 200, json_rejected(count)))
    ask(receiver, "ids", cases)


def malformed_json(receiver: Receiver) -> None:
    deep = 10_000
    texts = [
        b"", b"{", b"[]", b"null x", b"{]", b'{"resourceSpans":', b'{"resourceSpans":[}', b'{"resourceSpans":{}}', b"\xff\xfe",
        b'{"resourceSpans":[3]}', b'{"resourceSpans":["x"]}', b'{"resourceSpans":[{"scopeSpans":7}]}', b'{"a":1}}', b"NaN",
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":5}]}]}]}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SERVER"}]}]}]}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"soon"}]}]}]}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":-1}]}]}]}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":1e30}]}]}]}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":{}}]}]}]}',
        b'{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":{"intValue":"x"}}]}}]}',
        b'{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":{"bytesValue":"%%"}}]}}]}',
        b'{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":{"boolValue":"yes"}}]}}]}',
        b'{"resourceSpans":[{"resource":{"attributes":[{"key":"\\ud800","value":{}}]}}]}',
        b'{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":' + b'{"arrayValue":{"values":[' * deep + b"]}}" * deep + b"}]}}]}",
        b"[" * 100_000, b'{"a":' * 100_000,
    ]  # fmt: skip
    cases = [(f"JSON {n}", TRACES, JSON, text, 400) for n, text in enumerate(texts)]
    cases += [
        ("metrics, a text for a number", METRICS, JSON,
         b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"asInt":"x"}]}}]}]}]}', 400),
        ("metrics, no list", METRICS, JSON, b'{"resourceMetrics":{}}', 400),
        ("logs, a number for a text", LOGS, JSON, b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityText":1}]}]}]}', 400),
        ("logs, broken", LOGS, JSON, b'{"resourceLogs":[', 400),
        ("unknown fields", TRACES, JSON, b'{"resourceSpans":[{"new":{"a":[1,{}]}}],"x":null}', 200),
        ("nothing", TRACES, JSON, b"{}", 200),
        ("nulls", TRACES, JSON, b'{"resourceSpans":[{"scopeSpans":null,"resource":null}]}', 200),
    ]  # fmt: skip
    ask(receiver, "JSON", cases)


def heads(receiver: Receiver) -> None:
    body = request(span(span_id=b"\x21" * 8))
    cases = [
        (f"content type {mime!r}", TRACES, {"content-type": mime} if mime else {}, body, 415)
        for mime in ("", "text/plain", "application/xml", "application/octet-stream", "multipart/form-data", "application/x-protobuf2",
                     "json", "application/x-www-form-urlencoded", "*/*")
    ]  # fmt: skip
    cases += [
        (f"encoding {name!r}", TRACES, {**PROTOBUF, "content-encoding": name}, body, 415, lambda headers, _: "accept-encoding" in headers)
        for name in ("br", "compress", "lz4", "gzip, gzip", "gzip;q=1", "snappy2", "zstd,gzip", "utf-8")
    ]
    cases += [
        (f"path {path}", path, PROTOBUF, body, 404)
        for path in ("/", "/v1/trace", "/v1/traces/", "/V1/traces", "/v2/traces", "/v1/spans", "/metrics", "//v1/traces", "/api/v2/spans")
    ]
    ask(receiver, "heads", cases)
    wrong = []
    for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "PROPFIND"):
        status, headers, _ = receiver.post(TRACES, PROTOBUF, b"", method)
        if status != 405 or headers.get("allow") != "POST":
            wrong.append(f"{method}: {status}")
        COUNT[0] += 1
    receiver.suite.check("methods: all but POST are refused with what is allowed", not wrong, str(wrong))
    head = b"POST /v1/traces HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-protobuf\r\n"
    raw = [
        (b"\xff\xfe\r\n\r\n", b"400"), (b"GET\r\n\r\n", b"400"), (b"POST /v1/traces HTTP/3.7\r\n\r\n", b""), (b"\r\n" * 50, b""),
        (head + b"x: " + b"y" * 200_000 + b"\r\n\r\n", b"431"), (head + b"a: 1\r\n" * 500 + b"\r\n", b"431"),
        (head + b"content-length: -1\r\n\r\n", b"400"), (head + b"content-length: x\r\n\r\n", b"400"),
        (head + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", b"400"), (head + b"content-length: 99999999999999999999\r\n\r\n", b"400"),
        (head + b"content-length: 99999999999\r\n\r\n", b"413"), (head + b"transfer-encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (head + b"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n", b"400"), (head + b"content-length: 100\r\n\r\nabc", b"400"),
        (head + b"bad name: 1\r\n\r\n", b"400"), (head + b"x: \0\r\n\r\n", b"400"), (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b""),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300, b""), (b"GET / HTTP/1.1\r\nhost: h\r\n\r\n", b"404"),
    ]  # fmt: skip
    wrong = [f"{data[:60]!r}: {answer[:40]!r}" for data, status in raw if status not in (answer := receiver.raw(data))[:40]]
    COUNT[0] += len(raw)
    receiver.suite.check(f"raw heads: {len(raw)} are answered or dropped", not wrong, "; ".join(wrong[:4]))
    receiver.suite.check("raw heads: the next request is served", receiver.served())


def zstd_frame(content: bytes, window: "int | None" = None, repeat: int = 1) -> bytes:
    """A frame of raw blocks, or, for a single byte, of blocks that repeat it 128 KiB each; the window as its descriptor byte."""
    frame = b"\x28\xb5\x2f\xfd" + bytes([0x00, 0x38 if window is None else window])
    blocks = []
    if len(content) == 1:
        blocks = [(1, 128 << 10, content)] * repeat
    else:
        blocks = [(0, len(content[at : at + 65536]), content[at : at + 65536]) for at in range(0, len(content), 65536)] or [(0, 0, b"")]
    for n, (kind, size, data) in enumerate(blocks):
        frame += struct.pack("<I", size << 3 | kind << 1 | (n + 1 == len(blocks)))[:3] + data
    return frame


def packings(receiver: Receiver) -> None:
    whole = request(span(span_id=b"\x31" * 8))
    packed = {"gzip": gzip.compress(whole), "deflate": zlib.compress(whole), "zstd": zstd_frame(whole)}
    cases = []
    for name, data in packed.items():
        headers = {**PROTOBUF, "content-encoding": name}
        cases.append((f"{name}, sound", TRACES, headers, data, 200))
        cases += [(f"{name} cut at {n}", TRACES, headers, data[:n], 400) for n in range(1, len(data), max(len(data) // 12, 1))]
        cases.append((f"{name}, not packed", TRACES, headers, whole, 400))
        cases.append((f"{name}, empty", TRACES, headers, b"", (200, 400)))
        cases.append((f"{name}, packed nonsense", TRACES, headers, {
            "gzip": gzip.compress(b"\x0a\xff"), "deflate": zlib.compress(b"\x0a\xff"), "zstd": zstd_frame(b"\x0a\xff"),
        }[name], 400))  # fmt: skip
    flipped = bytearray(packed["gzip"])
    flipped[-6] ^= 1
    cases.append(("gzip, wrong checksum", TRACES, {**PROTOBUF, "content-encoding": "gzip"}, bytes(flipped), 400))
    ask(receiver, "packings", cases)


def bombs(receiver: Receiver) -> None:
    suite = receiver.suite
    before = receiver.memory()
    zeros = zlib.compressobj(9, wbits=31)
    packed_gzip = zeros.compress(bytes(256 << 20)) + zeros.flush()
    zeros = zlib.compressobj(9)
    packed_zlib = zeros.compress(bytes(256 << 20)) + zeros.flush()
    inputs = {
        "gzip, 256 MiB": ("gzip", packed_gzip),
        "gzip, many members": ("gzip", gzip.compress(bytes(1 << 20)) * 100),
        "deflate, 256 MiB": ("deflate", packed_zlib),
        "zstd, 4 GiB": ("zstd", zstd_frame(b"\0", repeat=32_768)),
        "zstd, many frames": ("zstd", zstd_frame(b"\0", repeat=64) * 100),
        "zstd, a window of 3.75 TiB": ("zstd", zstd_frame(b"\0", window=0xFF)),
        "zstd, a window of 1 GiB": ("zstd", zstd_frame(b"\0", window=20 << 3)),
        "zstd, a content of 2^63 bytes": ("zstd", b"\x28\xb5\x2f\xfd\xe0" + b"\0" * 7 + b"\x80" + b"\1\0\0"),
    }
    for name, (encoding, data) in inputs.items():
        for headers in (PROTOBUF, JSON):
            began = time.monotonic()
            status = receiver.post(TRACES, {**headers, "content-encoding": encoding}, data)[0]
            took = time.monotonic() - began
            COUNT[0] += 1
            suite.check(f"bomb, {name}: 413", status == 413, f"{status} after {took:.1f} s")
    too_large = [("announced", {**PROTOBUF, "content-length": str(LIMIT + 1)}, b"x")]
    for name, headers, body in too_large:
        status = receiver.raw(
            b"POST /v1/traces HTTP/1.1\r\nhost: h\r\n" + b"".join(f"{k}: {v}\r\n".encode() for k, v in headers.items()) + b"\r\n" + body
        )[:20]
        COUNT[0] += 1
        suite.check(f"too large, {name}: 413", b"413" in status, repr(status))
    suite.check("bombs: the next request is served", receiver.served())
    after = receiver.memory()
    # What was freed may stay with the allocator: twice the limit is what one message and its unpacking may take.
    suite.check("bombs: memory is bounded", after - before <= 2 * (LIMIT >> 20), f"{before} -> {after} MiB")


def odd_but_sound(receiver: Receiver) -> None:
    value = b""
    for _ in range(10_000):
        value = field(5, field(1, value))
    deep = field(9, field(1, b"k") + field(2, value))
    group = b"\xa3\x06" * 5_000
    cases = [
        ("values nested 10,000 deep", TRACES, PROTOBUF, request(span(span_id=b"\x41" * 8, more=deep)), (200, 400)),
        ("groups nested 5,000 deep", TRACES, PROTOBUF, request(span(span_id=b"\x42" * 8, more=group)), 400),
        ("text that is not UTF-8", TRACES, PROTOBUF, request(span(span_id=b"\x43" * 8, more=field(5, b"\xff\xfe"))), (200, 400)),
        ("unknown fields", TRACES, PROTOBUF, request(span(span_id=b"\x44" * 8, more=field(99, b"new") + b"\xa0\x06\x01")), 200),
        ("an end before the start", TRACES, PROTOBUF, request(span(span_id=b"\x45" * 8, more=fixed64(7, 2**64 - 1))), 200),
        ("a number of eleven bytes", TRACES, PROTOBUF, request(span(span_id=b"\x46" * 8, more=b"\x30" + b"\xff" * 11)), 400),
        ("field number 0", TRACES, PROTOBUF, request(span(span_id=b"\x47" * 8, more=b"\x00\x01")), 400),
        ("wire type 7", TRACES, PROTOBUF, request(span(span_id=b"\x48" * 8, more=b"\x0f")), 400),
        ("a name as a number", TRACES, PROTOBUF, request(span(span_id=b"\x49" * 8, more=b"\x28\x01")), 400),
        ("nothing at all", TRACES, PROTOBUF, b"", 200, lambda _, answer: answer == b""),
        ("100,000 empty spans", TRACES, PROTOBUF, field(1, field(2, b"\x12\x00" * 100_000)), 200),
        ("10,000 attributes", TRACES, PROTOBUF, request(span(span_id=b"\x4a" * 8, more=attribute(9, b"k", b"v") * 10_000)), 200),
        ("one attribute of 8 MiB", TRACES, PROTOBUF, request(span(span_id=b"\x4b" * 8, more=attribute(9, b"k", b"v" * (8 << 20)))), 200),
    ]  # fmt: skip
    rng = random.Random(7)
    whole = request(span(span_id=b"\x4c" * 8))
    for n in range(60):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        cases.append((f"bit flip {n}", TRACES, PROTOBUF, bytes(flipped), (200, 400)))
    ask(receiver, "odd messages", cases)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def connections(receiver: Receiver) -> None:
    suite = receiver.suite
    head = b"POST /v1/traces HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-protobuf\r\ncontent-length: 5000\r\n\r\n"
    for _ in range(20):
        stream = socket.create_connection(("127.0.0.1", receiver.http))
        stream.sendall(head + b"x" * 2_000)
        # Closed with a reset instead of an end.
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.close()
    COUNT[0] += 20
    suite.check("20 resets in the middle of a body: the next request is served", receiver.served())
    headers = b"\x83\x86\x84\x41\x01h"
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
    floods = {
        "resets": b"".join(frame(1, 4, 2 * n + 1, headers) + frame(3, 0, 2 * n + 1, b"\0\0\0\x08") for n in range(20_000)),
        "continuations": frame(1, 0, 1, headers) + frame(9, 0, 1, b"\x40\x01a\x01b") * 50_000,
        "empty data": frame(1, 4, 1, headers) + frame(0, 0, 1) * 100_000,
        "settings": frame(4, 0, 0) * 50_000,
        "pings": frame(6, 0, 0, b"\7" * 8) * 50_000,
        "streams that never end": b"".join(frame(1, 4, 2 * n + 1, headers) for n in range(2_000)),
        "window updates of nothing": frame(8, 0, 0, bytes(4)) * 100,
        "priorities": b"".join(frame(2, 0, 2 * n + 1, bytes(5)) for n in range(20_000)),
        "a frame of 16 MiB": b"\xff\xff\xff" + bytes([0, 0, 0, 0, 0, 1]) + bytes(1 << 20),
        "bad HPACK": frame(1, 4, 1, b"\xff" * 40),
        "data without a stream": frame(0, 1, 0, b"?"),
    }
    before = receiver.memory()
    for name, data in floods.items():
        with socket.create_connection(("127.0.0.1", receiver.grpc), timeout=5) as stream:
            try:
                stream.sendall(hello + data)
            except OSError:
                pass
            began = time.monotonic()
            served = receiver.served()
            suite.check(f"HTTP/2 flood, {name}: others are served", served and time.monotonic() - began < 5)
        COUNT[0] += 1
    after = receiver.memory()
    suite.check("HTTP/2 floods: memory is flat", after - before <= 48, f"{before} -> {after} MiB")


def grpc_answers(receiver: Receiver) -> None:
    import grpc

    suite = receiver.suite
    channel = grpc.insecure_channel(f"127.0.0.1:{receiver.grpc}", options=[("grpc.max_send_message_length", -1)])
    export = {
        name: channel.unary_unary(
            f"/opentelemetry.proto.collector.{name}.v1.{service}/Export", request_serializer=bytes, response_deserializer=bytes
        )
        for name, service in (("trace", "TraceService"), ("metrics", "MetricsService"), ("logs", "LogsService"))
    }

    def code(call, message: bytes) -> str:
        try:
            call(message, timeout=30)
            return "OK"
        except grpc.RpcError as error:
            return error.code().name

    wrong = []
    cases = []
    for name, whole in (("trace", request(span(span_id=b"\x51" * 8))), ("metrics", metrics()), ("logs", logs())):
        cases.append((f"{name}, sound", export[name], whole, "OK"))
        cases += [(f"{name} cut at {n}", export[name], whole[:n], "INVALID_ARGUMENT") for n in range(1, len(whole), len(whole) // 10)]
    cases.append(("too large", export["trace"], bytes(LIMIT + 1), "RESOURCE_EXHAUSTED"))
    for path in ("/opentelemetry.proto.collector.trace.v1.TraceService/Import", "/x.Y/Z", "/grpc.health.v1.Health/Check"):
        call = channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
        cases.append((path, call, b"", "UNIMPLEMENTED"))
    for name, call, message, expected in cases:
        seen = code(call, message)
        if seen != expected:
            wrong.append(f"{name}: {seen} instead of {expected}")
    COUNT[0] += len(cases)
    suite.check(f"gRPC: {len(cases)} inputs get their code", not wrong, "; ".join(wrong[:5]))
    partial = export["trace"](request(span(span_id=b"\x52" * 8), span(bytes(16))), timeout=30)
    suite.check("gRPC: partial success names one span", rejected(partial) == 1, repr(partial))
    channel.close()
    suite.check("gRPC: the next request is served", receiver.served())


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def few_descriptors(suite: Suite) -> None:
    """A receiver with 48 file descriptors, and 300 connections that say nothing: who is connected is served, the rest waits
    without the receiver spinning, and is served when there is room."""
    receiver = Receiver(suite, "few", ("prlimit", "--nofile=48:48"))
    body = request(*(span(span_id=struct.pack(">Q", 5_000_000 + n)) for n in range(10)))
    kept = http.client.HTTPConnection("127.0.0.1", receiver.http, timeout=20)

    def batch() -> int:
        kept.request("POST", TRACES, body=body, headers=PROTOBUF)
        answer = kept.getresponse()
        answer.read()
        return answer.status

    suite.check("few descriptors: the first is served", batch() == 200)
    silent = [socket.create_connection(("127.0.0.1", receiver.http), timeout=20) for _ in range(100)]
    silent += [socket.create_connection(("127.0.0.1", receiver.grpc), timeout=20) for _ in range(100)]
    # Connections that come and go meanwhile.
    for _ in range(100):
        socket.create_connection(("127.0.0.1", receiver.http), timeout=20).close()
    began, spent = time.monotonic(), cpu_seconds(receiver.process.pid)
    answers = []
    while time.monotonic() - began < 3:
        answers.append(batch())
        time.sleep(0.02)
    share = (cpu_seconds(receiver.process.pid) - spent) / (time.monotonic() - began)
    suite.check("few descriptors: who is connected is served all the while", set(answers) == {200}, str(set(answers)))
    suite.check("few descriptors: waiting costs no processor", share < 0.5, f"{share:.2f} of a core")
    descriptors = len(os.listdir(f"/proc/{receiver.process.pid}/fd"))
    suite.check("few descriptors: some stay free for the receiver's own files", descriptors <= 46, str(descriptors))
    for stream in silent:
        stream.close()
    suite.check("few descriptors: with room again, new connections are served", all(receiver.served() for _ in range(20)))
    kept.close()
    os.kill(receiver.process.pid, signal.SIGINT)
    receiver.process.wait(30)
    log = suite.log("few", 60)
    ledger = json.loads(log[log.index("{") :])["spans"]
    stored = 10 + receiver.good
    suite.check("few descriptors: every span is accounted for", (ledger["stored"], ledger["unknown"], ledger["dropped"]) == (stored, 0, 0), log)


def main() -> int:
    with Suite("bad_otlp") as suite:
        with suite.case("few_descriptors"):
            few_descriptors(suite)
        receiver = Receiver(suite)
        # Bodies that stop: begun first, looked at last, for the receiver's patience is 30 s.
        head = b"POST /v1/traces HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-protobuf\r\n"
        slow = []
        for data in (head + b"content-length: 5\r\n\r\nab", head + b"transfer-encoding: chunked\r\n\r\n4\r\nab", b"P", b"PRI * HTTP/2.0"):
            stream = socket.create_connection(("127.0.0.1", receiver.http), timeout=60)
            stream.sendall(data)
            slow.append((data, stream))
        receiver.served()
        before = receiver.memory()
        for part in (truncations, ids, malformed_json, heads, packings, bombs, odd_but_sound, connections, grpc_answers):
            with suite.case(part.__name__):
                part(receiver)
        for data, stream in slow:
            answer = b""
            try:
                while more := stream.recv(4096):
                    answer += more
            except OSError as error:
                answer = repr(error).encode()
            COUNT[0] += 1
            wanted = b"408" if data.startswith(head) else b""
            suite.check(f"silence after {data[-14:]!r} ends the connection", wanted in answer[:20] and b"timed out" not in answer, repr(answer))
        after = receiver.memory()
        suite.check("memory is flat over all", after - before <= 2 * (LIMIT >> 20), f"{before} -> {after} MiB")
        suite.check("at least 300 bad inputs", COUNT[0] >= 300, str(COUNT[0]))
        os.kill(receiver.process.pid, signal.SIGINT)
        receiver.process.wait(30)
        log = suite.log("collect", 60)
        ledger = json.loads(log[log.index("{") :])
        suite.check("the ledger adds up", ledger["spans"]["unknown"] == 0 and ledger["spans"]["dropped"] == 0, log)
        suite.check("good spans are stored", ledger["spans"]["stored"] >= receiver.good, log)
        suite.check("no panic", "panicked" not in log, log)
        print(f"  {COUNT[0]} bad inputs; {json.dumps(ledger['spans'])}")
        return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

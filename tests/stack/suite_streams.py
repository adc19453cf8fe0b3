"""Steps other than plain HTTP against servers in another language: gRPC (grpcio, with its reflection and descriptor sets
of the real `protoc`), WebSocket and server-sent events (FastAPI under uvicorn), traced by `opentelemetry-instrument` alone.

What hotspan counts is held against what the servers counted, and what it blames against the servers' own timers."""

import csv
import json
import sys
import urllib.request
from collections import defaultdict
from pathlib import Path

from harness import HERE, HOST, Suite, free_ports, read_report, run_folder, wait_for_port

APP = HERE / "streams_app"
PROGRAMS = Path(sys.executable).parent
# A call under way at the end is seen by the server and may not be counted by the load.
USERS = 4

# Paced, so that no exporter's queue overflows however fast the machine is.
CATALOG = """
name: catalog
target: http://127.0.0.1:PORT
load: {users: 4, for: 6s}
pace: 50ms
DESCRIBED
steps:
  - name: product
    grpc: shop.v1.Catalog/GetProduct
    message: {id: "p-{{ pick(1, 9) }}"}
    metadata: {x-tenant: blue}
    timeout: 2s
    expect: {status: OK, json: {$.price: 9.5, $.stock: 9007199254740993, $.id: matches ^p-, $.updated: contains T}}
    extract: {id: $.id}
  - name: missing
    grpc: shop.v1.Catalog/GetProduct
    message: {id: missing}
    metadata: {x-tenant: blue}
    expect: {status: NOT_FOUND, headers: {grpc-message: contains no product}}
  - {name: watch, grpc: shop.v1.Catalog/Watch, message: {id: "{{ id }}", count: 5}, expect: {json: {$: length == 5}}}
  - {name: some, grpc: shop.v1.Catalog/Watch, message: {id: w, count: 1000}, until: {messages: 3}, expect: {json: {"$[2].id": w2}}}
  - {name: add, grpc: shop.v1.Catalog/Add, messages: [{id: a}, {id: b}, {id: c}], expect: {json: {$.id: a+b+c}}}
  - {name: chat, grpc: shop.v1.Catalog/Chat, messages: [{id: a}, {id: b}, {id: c}], send: in_turn, expect: {json: {"$[2].id": re c}}}
"""

TALK = """
name: talk
target: http://127.0.0.1:PORT
load: {users: 4, for: 5s}
pace: 50ms
steps:
  - name: chat
    ws: /chat
    subprotocol: [chat.v2, chat.v1]
    expect: {headers: {sec-websocket-protocol: chat.v2}}
    script:
      - repeat: 5
        script:
          - send: "hello {{ user }}"
          - expect: {json: {$.type: echo, $.text: contains hello}, within: 2s}
            extract: {text: $.text}
      - send: {binary: AAECAw==}
      - expect
      - ping
      - close: {code: 4000, reason: done}
  - {name: bye, ws: /chat, script: [{send: bye}, {expect: {close: 4001}}]}
  - name: events
    sse: /events?count=5
    expect: {json: {$: length == 5, "$[4].data.value": 4, "$[0].event": price}}
  - name: answer
    sse: /answer
    json: {question: why is it slow}
    until: {match: '^\\[DONE\\]$'}
    expect: {json: {"$[0].data.word": why, $: length == 5}}
"""


def run_one(suite: Suite, name: str, scenario: str, server, described: str = "", cwd=None, cases=()):
    """One server, one `hotspan run`; gives the report and what the server left behind."""
    folder = suite.folder / name
    folder.mkdir()
    port, grpc_port, http_port = free_ports(3)
    timings = folder / "timings.csv"
    process = suite.start(
        name, server(port), cwd=cwd,
        env={
            "SHOP_TIMINGS": str(timings), "OTEL_SERVICE_NAME": name, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{http_port}", "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none", "OTEL_BSP_SCHEDULE_DELAY": "500",
        },
    )  # fmt: skip
    wait_for_port(port, process, seconds=60)
    file = folder / "scenario.yaml"
    file.write_text(scenario.replace("PORT", str(port)).replace("DESCRIBED", described))
    ran = suite.hotspan(
        "run", file, "--no-ui", "--out", folder / "runs",
        "--otlp-grpc", f"{HOST}:{grpc_port}", "--otlp-http", f"{HOST}:{http_port}", timeout=120,
    )  # fmt: skip
    print("\n".join("    " + line for line in ran.text.splitlines()[:30]), flush=True)
    if not suite.check(f"{name}: hotspan run exits with 0", ran.code == 0, str(ran)):
        print(suite.log(name))
    seen = None
    if not timings.exists() or timings.stat().st_size == 0:
        with urllib.request.urlopen(f"http://{HOST}:{port}/seen", timeout=10) as answer:
            seen = json.load(answer)
    suite.stop(process)
    return read_report(run_folder(folder / "runs")), seen if seen is not None else rows_of(timings)


def rows_of(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def steps_of(report: dict) -> dict[str, dict]:
    return {step["name"]: step for step in report["steps"]}


def check_all(suite: Suite, name: str, report: dict, statuses: dict[str, str]) -> None:
    """What must hold of every step, whatever it says."""
    for step in report["steps"]:
        what = f"{name}: {step['name']}"
        suite.check(f"{what}: no errors and no failed checks", step["errors"] == 0 and step["checks_failed"] == 0,
                    f"{step['failures']} {step['checks']} {step['statuses']}")  # fmt: skip
        suite.check(f"{what}: at least 20 exchanges", step["exchanges"] >= 20, str(step["exchanges"]))
        wanted = statuses.get(step["name"])
        suite.check(f"{what}: the status is {wanted}", set(step["statuses"]) == ({wanted} if wanted else set()),
                    str(step["statuses"]))  # fmt: skip
        total, latency = sum(c["mean_ms"] for c in step["categories"].values()), step["latency_ms"]["mean"]
        suite.check(f"{what}: the categories sum to the latency", abs(total - latency) < 0.02 + latency * 1e-4,
                    f"{total:.4f} and {latency:.4f} ms")  # fmt: skip
        suite.check(f"{what}: joined with its server spans", step["joined"] >= 0.99 * step["exchanges"],
                    f"{step['joined']} of {step['exchanges']}")  # fmt: skip


def check_catalog(suite: Suite, name: str, report: dict, rows: list[dict]) -> None:
    check_all(suite, name, report, {"missing": "5"})
    steps = steps_of(report)
    calls: dict[str, int] = defaultdict(int)
    times: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        calls[f"{row['method']} {row['status']}"] += 1
        times[f"{row['method']} {row['status']}"].append(float(row["ms"]))
    for step, method in [("product", "GetProduct OK"), ("missing", "GetProduct NOT_FOUND"), ("add", "Add OK"), ("chat", "Chat OK")]:
        seen = steps[step]["exchanges"]
        suite.check(f"{name}: {step}: server and load count the same calls", abs(calls[method] - seen) <= USERS,
                    f"{calls[method]} in the server, {seen} in the report")  # fmt: skip
    for step, sent, received, trips in [("watch", 1, 5, None), ("some", 1, 3, None), ("add", 3, 1, None), ("chat", 3, 3, 3)]:
        exchanges, messages = steps[step]["exchanges"], steps[step].get("messages") or {}
        seen = (messages.get("sent"), messages.get("received"), (messages.get("round_trips") or {}).get("count"))
        wanted = (sent * exchanges, received * exchanges, trips and trips * exchanges)
        suite.check(f"{name}: {step}: {sent} messages out and {received} in, each time", seen == wanted, f"{seen}, not {wanted}")
    suite.check(f"{name}: product: one answer is no stream", "messages" not in steps["product"])
    first = steps["watch"]["messages"]["first_ms"]["p50"]
    suite.check(f"{name}: watch: the first message comes after 10 ms", 9 <= first <= 30, f"{first} ms")
    # What the server's own timer says of a call is the application's time, by the spans of an unmodified instrumentation.
    for step, method in [("product", "GetProduct OK"), ("add", "Add OK"), ("chat", "Chat OK")]:
        truth, latency = sum(times[method]) / len(times[method]), steps[step]["latency_ms"]["mean"]
        blamed = steps[step]["categories"].get("app", {}).get("mean_ms", 0.0)
        suite.check(f"{name}: {step}: application time within 15 % of latency", abs(blamed - truth) <= 0.15 * latency,
                    f"timers {truth:.2f} ms, blamed {blamed:.2f} ms, latency {latency:.2f} ms")  # fmt: skip


def catalog(suite: Suite) -> None:
    """The same catalogue described in three ways."""
    made = suite.folder / "made"
    made.mkdir()
    import subprocess

    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{APP}", f"--python_out={made}", f"--grpc_python_out={made}",
         "--include_imports", f"--descriptor_set_out={made / 'catalog.binpb'}", APP / "catalog.proto"],
        check=True,
    )  # fmt: skip
    (made / "catalog_server.py").write_text((APP / "catalog_server.py").read_text())

    def server(*more):
        return lambda port: [PROGRAMS / "opentelemetry-instrument", sys.executable, "catalog_server.py", port, *more]

    ways = [
        ("reflection", "", ()),
        ("protoset", f"grpc: {{protoset: {made / 'catalog.binpb'}}}", ("--no-reflection",)),
        ("proto", f"grpc: {{proto: {APP / 'catalog.proto'}}}", ("--no-reflection",)),
    ]
    for way, described, more in ways:
        with suite.case(f"gRPC described by {way}"):
            report, rows = run_one(suite, f"grpc-{way}", CATALOG, server(*more), described, cwd=made)
            check_catalog(suite, way, report, rows)
    with suite.case("gRPC without any description"):
        (port,) = free_ports(1)
        process = suite.start("mute", server("--no-reflection")(port), cwd=made, env={"SHOP_TIMINGS": str(made / "mute.csv"), "OTEL_SDK_DISABLED": "true"})
        wait_for_port(port, process, seconds=60)
        file = suite.folder / "mute.yaml"
        file.write_text(CATALOG.replace("PORT", str(port)).replace("DESCRIBED", ""))
        ran = suite.hotspan("run", file, "--no-ui", "--out", suite.folder / "mute-runs", timeout=60)
        suite.stop(process)
        suite.check("without reflection and files: exit code 1, and what to do", ran.code == 1 and "protoset" in ran.text, str(ran))


def talk(suite: Suite) -> None:
    def server(port):
        return [PROGRAMS / "opentelemetry-instrument", PROGRAMS / "uvicorn", "web:app", "--host", HOST, "--port", port,
                "--no-access-log", "--log-level", "warning"]  # fmt: skip

    report, seen = run_one(suite, "talk", TALK, server, cwd=APP)
    check_all(suite, "talk", report, {"chat": "101", "bye": "101", "events": "200", "answer": "200"})
    steps = steps_of(report)
    for step, sent, received, trips in [("chat", 6, 6, 7), ("bye", 1, 0, None), ("events", 0, 5, None), ("answer", 0, 5, None)]:
        exchanges, messages = steps[step]["exchanges"], steps[step].get("messages") or {}
        found = (messages.get("sent"), messages.get("received"), (messages.get("round_trips") or {}).get("count"))
        wanted = (sent * exchanges, received * exchanges, trips and trips * exchanges)
        suite.check(f"talk: {step}: {sent} messages out and {received} in, each time", found == wanted, f"{found}, not {wanted}")
    chats = steps["chat"]["exchanges"] + steps["bye"]["exchanges"]
    streams = steps["events"]["exchanges"]
    suite.check("talk: the service saw the same conversations, all with traceparent",
                abs(seen["chats"] - chats) <= USERS and seen["chats"] == seen["chats_traced"], f"{seen}, {chats} in the report")  # fmt: skip
    suite.check("talk: the service saw the same streams, all with traceparent",
                abs(seen["streams"] - streams) <= USERS and seen["streams"] == seen["streams_traced"], f"{seen}, {streams} in the report")  # fmt: skip
    suite.check("talk: the service was told the close code", abs(seen.get("closed_4000", 0) - steps["chat"]["exchanges"]) <= USERS, str(seen))
    trip = steps["chat"]["messages"]["round_trips"]["mean_ms"]
    suite.check("talk: a round trip takes the service's 10 ms, less often the ping's nothing", 6 <= trip <= 20, f"{trip} ms")
    gap = steps["events"]["messages"]["longest_gap_ms"]
    suite.check("talk: events are at least 10 ms apart", gap >= 9, f"{gap} ms")


def main() -> int:
    with Suite("streams") as suite:
        with suite.case("gRPC"):
            catalog(suite)
        with suite.case("WebSocket and server-sent events"):
            talk(suite)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

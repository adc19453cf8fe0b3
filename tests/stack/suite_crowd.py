"""Real applications with more users than they have room for: who is told as slow, the page that makes others wait or those that wait?

`pool`: FastAPI with a pool of two connections, of which no span tells; one page keeps a connection while it asks a partner. The wait
is told once, as a pool's, with who holds the connections and calls the partner meanwhile; the pages that wait have no slow code. `limit`: FastAPI
with a semaphore of three before a call, told as a wait for one of three places. `workers`: Flask under two workers of one request each; one page asks a slow
partner. That call is told, and the pages that wait before the workers are not slow themselves. One `hotspan run` each, of
HOTSPAN_CROWD_SECONDS (default 12).
"""

import os
import sys
from pathlib import Path

from harness import HERE, Suite, free_ports, read_report, run_folder, start_postgresql, traced, wait_for_port

SECONDS = int(os.environ.get("HOTSPAN_CROWD_SECONDS", "12"))
PARTNER_MS = 120
PAGES = {"pool": ["label", "book", "writer", "about"], "limit": ["quote", "about"], "workers": ["quote", "book", "about"]}
PROGRAMS = Path(sys.executable).parent


def server(name: str, port: int) -> list:
    if name in ("pool", "limit"):
        return [PROGRAMS / "uvicorn", "--port", port, "--log-level", "warning", f"{name}:app"]
    return [PROGRAMS / "gunicorn", "--workers", 2, "--bind", f"127.0.0.1:{port}", "workers:app"]


def run_app(suite: Suite, name: str, database: str) -> dict:
    port, partner_port, grpc, http = free_ports(4)
    partner = suite.start(f"partner-{name}", [sys.executable, HERE / "fastapi_app" / "partner.py", partner_port, 0, PARTNER_MS])
    env = traced("bookshop", http, SHOP_DATABASE_URL=database, SHOP_PARTNER_URL=f"http://127.0.0.1:{partner_port}")
    app = suite.start(name, [PROGRAMS / "opentelemetry-instrument", *server(name, port)], env=env, cwd=HERE / "crowd_app")
    wait_for_port(partner_port, partner)
    wait_for_port(port, app, seconds=60)
    text = f"name: {name}\ntarget: http://127.0.0.1:{port}\nload:\n  - {{users: 16, for: {SECONDS}s}}\njourneys:\n"
    for page in PAGES[name]:
        path = "/about" if page == "about" else f"/{page}/{{{{ pick(1, 500) }}}}"
        text += f'  {page}: {{think: 50ms..150ms, steps: [{{name: {page}, get: "{path}", expect: {{status: 200}}}}]}}\n'
    scenario = suite.folder / f"{name}.yaml"
    scenario.write_text(text)
    out = suite.folder / f"runs-{name}"
    ran = suite.hotspan(
        "run", scenario, "--no-ui", "--out", out, "--otlp-grpc", f"127.0.0.1:{grpc}", "--otlp-http", f"127.0.0.1:{http}",
        timeout=SECONDS + 120,
    )  # fmt: skip
    suite.stop(app)
    suite.stop(partner)
    print("\n".join("    " + line for line in ran.text.splitlines()[:40]), flush=True)
    if not suite.check(f"{name}: hotspan run exits with 0", ran.code == 0, str(ran)):
        print(suite.log(name))
    return read_report(run_folder(out))


def told(report: dict) -> list:
    findings = [f for f in report["findings"] if f["kind"] not in ("clock_skew", "incomplete_traces", "generator_bound")]
    return [(f["kind"], f["step"]["name"], f["contributor"]["name"][:60], f["confidence"]["level"]) for f in findings]


def check(suite: Suite, name: str, report: dict) -> None:
    lines = told(report)
    if name == "pool":
        waits = [line for line in lines if line[0] == "pool_wait"]
        suite.check("pool: the wait for connections is told, once", len(waits) == 1, str(lines))
        holders = next((f["holders"] for f in report["findings"] if f["kind"] == "pool_wait"), [])
        first = holders[0] if holders else {"page": {"name": ""}, "held": 0, "calls_share": 0}
        seen = [(h["page"]["name"], h["held"], h["calls_share"]) for h in holders]
        suite.check("pool: the page that holds both connections is told", "/label/" in first["page"]["name"] and 1.2 <= first["held"] <= 2.1, str(seen))
        suite.check("pool: it calls the partner meanwhile", first["calls_share"] >= 0.8, str(seen))
        suite.check("pool: no page's code or statement is called slow", not [x for x in lines if x[0] in ("app_cpu", "event_loop_blocked", "slow_query")], str(lines))
    elif name == "limit":
        places = [(f["kind"], f["step"]["name"], f["evidence"].get("places")) for f in report["findings"]]
        suite.check("limit: the three places are told", ("pool_wait", "quote", 3) in places, str(places))
        suite.check("limit: no page's code is called slow", not [x for x in lines if x[0] in ("app_cpu", "event_loop_blocked")], str(lines))
    else:
        suite.check("workers: the partner's call is told", any(x[0] == "slow_external" and x[1] == "quote" for x in lines), str(lines))
        others = [x for x in lines if x[1] != "quote" and x[0] != "queueing"]
        suite.check("workers: nothing is wrong with the pages that wait, but that they do", not others, str(lines))
    suite.check(f"{name}: nothing but waiting is told of the page without a database", all(x[1] != "about" or x[0] == "queueing" for x in lines), str(lines))


def main() -> int:
    with Suite("crowd") as suite:
        database = start_postgresql(suite, HERE / "apps_schema.sql")
        for name in PAGES:
            with suite.case(name):
                check(suite, name, run_app(suite, name, database))
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

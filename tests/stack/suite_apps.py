"""Real applications under automatic instrumentation, each with the same four faults: are they found by their right names?

Flask with SQLAlchemy under `opentelemetry-instrument` (with two faults more), Django with its ORM under `opentelemetry-instrument`, Express with pg under `auto-instrumentations-node`. Their code knows
nothing about tracing. Each has an N+1, a search without an index, a slow third party and a calculation that holds a
core, and one page with nothing wrong. One `hotspan run --database` each, of HOTSPAN_APPS_SECONDS (default 10): the right
kind, the right statement, at the right step, first of its step; nothing said about the good page.
"""

import os
import shutil
import sys
from pathlib import Path

from harness import HERE, Suite, free_ports, read_report, run_folder, start_postgresql, traced, wait_for_port

SECONDS = int(os.environ.get("HOTSPAN_APPS_SECONDS", "10"))
PARTNER_MS = 150
# Step: the kinds that are right, and words of the contributor or the remedy. A calculation in one event loop is that loop's.
EXPECTED = {
    "books": (("n_plus_one_query",), "author"),
    "orders": (("missing_index",), "orders"),
    "quote": (("slow_external",), "127.0.0.1"),
    "discount": (("app_cpu", "event_loop_blocked"), "discount"),
}
# What one application has beside the faults of all.
MORE = {"flask": {"shelf": (("n_plus_one_query",), "price"), "stock": (("rate_limited",), "limited")}}
MORE_STEPS = {
    "shelf": "shelf?page={{ pick(1, 90) }}",
    "stock": "stock/{{ pick(1, 2000) }}",
}
SCENARIO = """\
name: {name}
target: http://127.0.0.1:{port}
load:
  - {{users: 4, for: {seconds}s}}
journeys:
  books: {{think: 100ms..300ms, steps: [{{name: books, get: "/books?page={{{{ pick(1, 90) }}}}", expect: {{status: 200}}}}]}}
  orders: {{think: 100ms..300ms, steps: [{{name: orders, get: "/orders?reader={{{{ pick(1, 40000) }}}}", expect: {{status: 200}}}}]}}
  quote: {{think: 100ms..300ms, steps: [{{name: quote, get: "/quote/{{{{ pick(1, 2000) }}}}", expect: {{status: 200}}}}]}}
  discount: {{think: 100ms..300ms, steps: [{{name: discount, get: "/discount/{{{{ pick(1, 2000) }}}}", expect: {{status: 200}}}}]}}
  book: {{think: 100ms..300ms, steps: [{{name: book, get: "/book/{{{{ pick(1, 2000) }}}}", expect: {{status: 200}}}}]}}
"""


def start_django(suite: Suite, port: int, env: dict):
    programs = Path(sys.executable).parent
    return suite.start(
        "django",
        [programs / "opentelemetry-instrument", sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"],
        env={**env, "DJANGO_SETTINGS_MODULE": "settings"},
        cwd=HERE / "django_app",
    )  # fmt: skip


def start_flask(suite: Suite, port: int, env: dict):
    programs = Path(sys.executable).parent
    return suite.start(
        "flask",
        [
            programs / "opentelemetry-instrument", programs / "gunicorn", "--workers", 1, "--threads", 8,
            "--bind", f"127.0.0.1:{port}", "app:app",
        ],
        env=env,
        cwd=HERE / "flask_app",
    )  # fmt: skip


def start_express(suite: Suite, port: int, env: dict):
    folder = suite.folder / "express"
    shutil.copytree(HERE / "express_app", folder)
    modules = Path(os.environ["HOTSPAN_STACK_NODE"]) / "node_modules"
    (folder / "node_modules").symlink_to(modules)
    return suite.start(
        "express",
        ["node", "--require", "@opentelemetry/auto-instrumentations-node/register", "app.js", port],
        env={**env, "OTEL_NODE_RESOURCE_DETECTORS": "env,host,process"},
        cwd=folder,
    )


def run_app(suite: Suite, name: str, start, database: str, out: str, warm_up=None) -> dict:
    app_port, partner_port, grpc_port, http_port = free_ports(4)
    partner = suite.start(f"partner-{name}", [sys.executable, HERE / "fastapi_app" / "partner.py", partner_port, 0, PARTNER_MS])
    env = traced("bookshop", http_port, SHOP_DATABASE_URL=database, SHOP_PARTNER_URL=f"http://127.0.0.1:{partner_port}")
    app = start(suite, app_port, env)
    wait_for_port(partner_port, partner)
    wait_for_port(app_port, app, seconds=180)
    if warm_up:
        warm_up(app_port)
    scenario = suite.folder / f"{name}.yaml"
    text = SCENARIO.format(name=name, port=app_port, seconds=SECONDS)
    for step in MORE.get(name, {}):
        get = f'{{name: {step}, get: "/{MORE_STEPS[step]}", expect: {{status: 200}}}}'
        text += f"  {step}: {{think: 100ms..300ms, steps: [{get}]}}\n"
    scenario.write_text(text)
    out = suite.folder / f"runs-{out}"
    ran = suite.hotspan(
        "run", scenario, "--no-ui", "--out", out, "--database", database,
        "--otlp-grpc", f"127.0.0.1:{grpc_port}", "--otlp-http", f"127.0.0.1:{http_port}",
        timeout=SECONDS + 120,
    )  # fmt: skip
    suite.stop(app)
    suite.stop(partner)
    print("\n".join("    " + line for line in ran.text.splitlines()[:60]), flush=True)
    if not suite.check(f"{name}: hotspan run exits with 0", ran.code == 0, str(ran)):
        print(suite.log(name))
    return read_report(run_folder(out))


def unrecorded_wait(suite: Suite, database: str, out: str) -> None:
    """A page that waits for a program that it calls: told as waiting by what its processes use of the cores meanwhile."""
    port, grpc_port, http_port = free_ports(3)
    env = traced("bookshop", http_port, SHOP_DATABASE_URL=database, SHOP_PARTNER_URL="http://127.0.0.1:1")
    app = start_flask(suite, port, env)
    wait_for_port(port, app, seconds=180)
    out = suite.folder / f"runs-{out}"
    ran = suite.hotspan(
        "run", f"http://127.0.0.1:{port}/receipt/7", "--users", 4, "--duration", f"{SECONDS}s", "--no-ui", "--out", out,
        "--otlp-grpc", f"127.0.0.1:{grpc_port}", "--otlp-http", f"127.0.0.1:{http_port}", timeout=SECONDS + 120,
    )  # fmt: skip
    suite.stop(app)
    suite.check("wait: hotspan run exits with 0", ran.code == 0, str(ran))
    first = (read_report(run_folder(out))["findings"] or [None])[0]
    evidence = first["evidence"] if first else {}
    suite.check("wait: its own code is told", bool(first) and first["kind"] == "app_cpu", str(first))
    suite.check(
        "wait: as a wait that no span records, of at least half of its time",
        bool(first) and "no span records" in first["title"] and evidence.get("idle_ms", 0) >= 60, str(first),
    )  # fmt: skip
    suite.check("wait: by what its processes used of the cores", evidence.get("process_cores", 9) < 1, str(first))


def check(suite: Suite, name: str, report: dict) -> None:
    coverage = report["telemetry"]["coverage"]
    suite.check(f"{name}: coverage is at least 0.97", coverage >= 0.97, f"{coverage}")
    findings = [f for f in report["findings"] if f["kind"] not in ("clock_skew", "incomplete_traces")]
    told = [(f["kind"], f["step"]["name"], f["contributor"]["name"][:60], f["confidence"]["level"]) for f in findings]
    expected = {**EXPECTED, **MORE.get(name, {})}
    for step, (kinds, words) in expected.items():
        of_step = [f for f in findings if f["step"]["name"] == step]
        first = of_step[0] if of_step else None
        suite.check(f"{name}: {step} is {' or '.join(kinds)}", bool(first) and first["kind"] in kinds, str(told))
        suite.check(
            f"{name}: {step} names {words}", bool(first) and words in first["contributor"]["name"].lower(), str(told)
        )
    index = next((f for f in findings if f["kind"] == "missing_index"), {"remedy": ""})
    suite.check(f"{name}: the index is named with its column", "orders (email)" in index["remedy"], str(index))
    suite.check(f"{name}: nothing is said about the good page", all(f["step"]["name"] != "book" for f in findings), str(told))
    right = {kind for kinds, _ in expected.values() for kind in kinds}
    wrong = [line for line in told if line[3] == "high" and line[0] not in right]
    suite.check(f"{name}: no other kind at high confidence", not wrong, str(wrong))


def main() -> int:
    wanted = os.environ.get("HOTSPAN_APPS", "flask,django,express").split(",")
    with Suite("apps") as suite:
        database = start_postgresql(suite, HERE / "apps_schema.sql")
        for name, start in (("flask", start_flask), ("django", start_django), ("express", start_express)):
            if name in wanted:
                suite.measured(name, lambda out: check(suite, name, run_app(suite, name, start, database, out)))
        if "flask" in wanted:
            suite.measured("wait", lambda out: unrecorded_wait(suite, database, out))
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

"""A FastAPI service on PostgreSQL, traced by `opentelemetry-instrument` alone, loaded and explained by `hotspan run`.

What hotspan blames is held against the service's own plain timers (a CSV file, one row per request): for each step,
mean database, external and application time within 5 % of the step's mean latency. Once over OTLP/gRPC, once over
OTLP/HTTP with protobuf.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

from harness import HERE, Suite, free_ports, read_report, run_folder, start_postgresql, wait_for_port

APP = HERE / "fastapi_app"
TOLERANCE = 0.05
ROUTES = {
    "books": "/books",
    "orders": "/orders",
    "recommendations": "/recommendations/{book_id}",
    "price": "/price/{book_id}",
    "checkout": "/checkout/{book_id}",
}


def truth(path: Path) -> dict[str, dict[str, float]]:
    """Mean milliseconds by route and part, from the service's own timers."""
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if row["status"] != "200":
                continue
            database, external, total = (float(row[part]) for part in ("database_ms", "external_ms", "total_ms"))
            route = sums[row["route"]]
            route["count"] += 1
            route["database"] += database
            route["external"] += external
            route["app"] += total - database - external
    return {
        route: {"count": parts["count"]} | {part: parts[part] / parts["count"] for part in ("database", "external", "app")}
        for route, parts in sums.items()
    }


def run_one(suite: Suite, name: str, protocol: str, scenario: str, similar_ms: int, database: str):
    """One application process, one partner, one `hotspan run`; gives the report and the truth."""
    folder = suite.folder / name
    folder.mkdir()
    app_port, partner_port, grpc_port, http_port = free_ports(4)
    partner = suite.start(f"partner-{folder.name}", [sys.executable, APP / "partner.py", partner_port, similar_ms, min(40, similar_ms)])
    programs = Path(sys.executable).parent
    app = suite.start(
        f"app-{folder.name}",
        [programs / "opentelemetry-instrument", programs / "uvicorn", "app:app", "--host", "127.0.0.1"]
        + ["--port", app_port, "--no-access-log", "--log-level", "warning"],
        env={
            "SHOP_DATABASE_URL": database,
            "SHOP_PARTNER_URL": f"http://127.0.0.1:{partner_port}",
            "SHOP_TIMINGS": str(folder / "timings.csv"),
            "OTEL_SERVICE_NAME": "bookshop",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{grpc_port if protocol == 'grpc' else http_port}",
        },
        cwd=APP,
    )
    wait_for_port(partner_port, partner)
    wait_for_port(app_port, app, seconds=60)
    text = (APP / scenario).read_text().replace("TARGET", f"http://127.0.0.1:{app_port}")
    (folder / scenario).write_text(text)
    ran = suite.hotspan(
        "run", folder / scenario, "--no-ui", "--out", folder / "runs",
        "--otlp-grpc", f"127.0.0.1:{grpc_port}", "--otlp-http", f"127.0.0.1:{http_port}",
        timeout=150,
    )  # fmt: skip
    suite.stop(app)
    suite.stop(partner)
    print("\n".join("    " + line for line in ran.text.splitlines()[:40]), flush=True)
    if not suite.check(f"{protocol}: hotspan run exits with 0", ran.code == 0, str(ran)):
        print(suite.log(f"app-{folder.name}"))
    return read_report(run_folder(folder / "runs")), truth(folder / "timings.csv")


def check_blame(suite: Suite, protocol: str, report: dict, timers: dict) -> None:
    """Prints the table step × part × truth × blamed, and checks each line of it."""
    print("    | step | requests | latency ms | part | timers ms | blamed ms | difference of latency |")
    print("    |---|---|---|---|---|---|---|")
    for step in report["steps"]:
        name, latency, real = step["name"], step["latency_ms"]["mean"], timers[ROUTES[step["name"]]]
        for part in ("database", "external", "app"):
            blamed = step["categories"].get(part, {}).get("mean_ms", 0.0)
            difference = (blamed - real[part]) / latency
            print(
                f"    | {name} | {step['exchanges']} | {latency:.2f} | {part} | {real[part]:.2f} | {blamed:.2f} "
                f"| {difference:+.1%} |"
            )
            suite.check(
                f"{protocol}: {name}: {part} within {TOLERANCE:.0%} of latency", abs(difference) <= TOLERANCE,
                f"timers {real[part]:.2f} ms, blamed {blamed:.2f} ms, latency {latency:.2f} ms",
            )  # fmt: skip
        total = sum(each["mean_ms"] for each in step["categories"].values())
        suite.check(
            f"{protocol}: {name}: the categories sum to the latency", abs(total - latency) < 0.02 + latency * 1e-4,
            f"{total:.4f} and {latency:.4f} ms",
        )  # fmt: skip
        # A request under way at the end is seen by the service and may not be counted by the load; there are 4 users.
        suite.check(
            f"{protocol}: {name}: service and load count the same requests",
            abs(real["count"] - step["exchanges"]) <= 4 and step["errors"] == 0 and step["exchanges"] >= 15,
            f"{real['count']:.0f} in the service, {step['exchanges']} in the report, {step['errors']} errors",
        )
    coverage = report["telemetry"]["coverage"]
    suite.check(f"{protocol}: coverage is at least 0.99", coverage >= 0.99, f"{coverage}")


def step_named(report: dict, name: str) -> dict:
    return next(step for step in report["steps"] if step["name"] == name)


def check_top(suite: Suite, protocol: str, report: dict, name: str, category: str, words: str) -> None:
    """The contributor with the largest share of a step is of this category and names these words."""
    top = max(step_named(report, name)["contributors"], key=lambda each: each["mean_ms"])
    suite.check(
        f"{protocol}: {name}: most of it is {category}, {words}",
        top["category"] == category and words.lower() in (top["name"] + " " + (top.get("system") or "")).lower(),
        f"{top['category']} {top['name']!r}",
    )


def check_headline(suite: Suite, protocol: str, report: dict, *words: str) -> None:
    headline = report["verdict"]["headline"]
    missing = [word for word in words if word.lower() not in headline.lower()]
    suite.check(f"{protocol}: the headline names {', '.join(words)}", not missing, headline)


def slow_database(suite: Suite, name: str, database: str) -> None:
    # On a quick machine, too, the database is what takes most: few requests ask the partner. On a slow one its timer has some
    # milliseconds more than its span, in which the event loop waits for the interpreter: a small part of what the partner takes.
    report, timers = run_one(suite, name, "grpc", "slow_database.yaml", 130, database)
    check_blame(suite, "grpc", report, timers)
    check_top(suite, "grpc", report, "books", "database", "review")
    check_top(suite, "grpc", report, "orders", "database", "orders")
    check_top(suite, "grpc", report, "recommendations", "external", "127.0.0.1")
    check_top(suite, "grpc", report, "price", "app", "price")
    reviews = [c for c in step_named(report, "books")["contributors"] if "review" in c["name"].lower()]
    suite.check(
        "grpc: books: the review query is one contributor with 8 calls per request",
        len(reviews) == 1 and abs(reviews[0]["calls_per_exchange"] - 8) < 0.01,
        str(reviews),
    )
    check_headline(suite, "grpc", report, "books", "database", "review")
    suite.check(
        "grpc: the N+1 is a finding",
        any(f["kind"] == "n_plus_one_query" and f["step"]["name"] == "books" for f in report["findings"]),
        str([(f["kind"], f["step"], f["title"]) for f in report["findings"]]),
    )


def slow_partner(suite: Suite, name: str, database: str) -> None:
    report, timers = run_one(suite, name, "http/protobuf", "slow_partner.yaml", 250, database)
    check_blame(suite, "http/protobuf", report, timers)
    check_top(suite, "http/protobuf", report, "recommendations", "external", "127.0.0.1")
    check_headline(suite, "http/protobuf", report, "recommendations", "external")


def broken_page(suite: Suite, name: str, database: str) -> None:
    report, _ = run_one(suite, name, "grpc", "broken.yaml", 100, database)
    step = step_named(report, "reservations")
    errors = step.get("server_errors", [])
    suite.check(
        "broken: every failure is told with the database's words, at the statement",
        len(errors) == 1
        and errors[0]["count"] == step["errors"] > 10
        and 'UndefinedColumn: column "reserved_until" does not exist' in errors[0]["message"]
        and errors[0]["at"] == "SELECT reserved_until FROM book WHERE id = ?",
        f"{step['errors']} {errors}",
    )
    check_headline(suite, "broken", report, "reservations fails", "UndefinedColumn", "FROM book")


def main() -> int:
    with Suite("fastapi") as suite:
        database = start_postgresql(suite, APP / "schema.sql")
        suite.measured("slow-database", lambda name: slow_database(suite, name, database))
        suite.measured("slow-partner", lambda name: slow_partner(suite, name, database))
        suite.measured("broken", lambda name: broken_page(suite, name, database))
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

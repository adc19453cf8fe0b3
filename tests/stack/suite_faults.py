"""Every fault of the demo shop: is it found, and is the blame what the shop's own timers say?

For each fault and for none of them, `hotspan demo --fault X` with 20 users for HOTSPAN_FAULT_SECONDS (default 20).
Checked: the step's largest excess is blamed on the right category and contributor, the headline is about it, and for
every step each category's mean is within 5 % of the mean latency (or a quarter of a millisecond) of the shop's `Server-Timing` (measured with plain
timers, apart from its spans). With no fault, nothing may be called a problem. The closing table is Markdown.
"""

import json
import os
import sys

from detection_table import EVIDENCE, KINDS
from harness import Suite, read_report, run_folder

SECONDS = int(os.environ.get("HOTSPAN_FAULT_SECONDS", "20"))
USERS = 20
TOLERANCE = 0.05
# So much is a thread that had no core between the end of a span and the timer's: nothing to most pages, and much to one of a millisecond.
FLOOR_MS = 0.25
# Parts of the server's own account, and what they leave of the latency: between the services and outside of them.
PARTS = ("database", "cache", "external", "queue", "app")
REST = "network, transfer, client"
# Fault: the step that it slows down most clearly, the category that owns the lost time, part of the contributor's name.
EXPECTED = {
    "n_plus_one": ("products", "database", "review"),
    "missing_index": ("search", "database", "search_term"),
    "slow_external": ("checkout", "external", "/v1/charges"),
    "rate_limited_external": ("checkout", "queue", "/v1/charges"),
    "cpu": ("login", "app", "hash password"),
    "pool_exhausted": ("products", "queue", "pool acquire"),
    "lock_contention": ("basket_add", "database", "warehouse"),
    "sequential_calls": ("product", "network", "/stock/{product_id}"),
    "cache_off": ("home", "database", "order_item"),
    "cold_start": ("search", "app", "load catalogue"),
    "large_payload": ("products", "transfer", ""),
    "static_by_app": ("static", "app", "compress static file"),
}


# The steps that a headline about the fault may name, and its words for the cause. Most faults show in one step only;
# a pool of one connection and a lock that is held for a slow payment are felt, and are true, in several.
HEADLINE = {
    "n_plus_one": (("products",), ("the database",)),
    "missing_index": (("search",), ("the database",)),
    "slow_external": (("checkout",), ("an external service",)),
    "rate_limited_external": (("checkout",), ("a rate limit",)),
    "cpu": (("login",), ("the code of shop",)),
    "pool_exhausted": (("home", "products", "product", "search", "checkout"), ("the wait for a connection of the pool",)),
    "lock_contention": (("basket_add", "checkout"), ("the database", "an external service")),
    "sequential_calls": (("product",), ("calls to another service",)),
    "cache_off": (("home",), ("the database",)),
    "cold_start": (("search",), ("the code of shop", "a start of shop")),
    "large_payload": (("products",), ("the size of its answers",)),
    "static_by_app": (("static",), ("the code of shop",)),
}


def run_demo(suite: Suite, fault: str, name: str):
    """One run of the demo; gives what it printed, the report, and truth and blame by step."""
    out, temporary = suite.folder / name, suite.folder / f"{name}-tmp"
    temporary.mkdir()
    ran = suite.hotspan(
        "demo", "--fault", fault, "--users", USERS, "--duration", f"{SECONDS}s", "--no-ui", "--out", out,
        timeout=SECONDS + 180, env={"TMPDIR": str(temporary)},
    )  # fmt: skip
    suite.check(f"{fault}: hotspan demo exits with 0", ran.code == 0, str(ran))
    left = [path.name for path in temporary.iterdir()]
    suite.check(f"{fault}: the shop leaves no temporary files", not left, str(left))
    folder = run_folder(out)
    told = suite.hotspan("analyze", folder, "--truth", timeout=180)
    if not suite.check(f"{fault}: analyze --truth exits with 0", told.code == 0, str(told)):
        raise RuntimeError("no truth to hold the blame against")
    return ran, read_report(folder), json.loads(told.out)


def check_truth(suite: Suite, fault: str, truth: list) -> list:
    """Every step and part within the tolerance; gives (difference, step, part, truth, blamed, latency), worst first."""
    lines = []
    broken = {step["name"]: step["identity_violations"] for step in truth if step["identity_violations"]}
    suite.check(
        f"{fault}: segments sum to the latency, for each of {sum(step['exchanges'] for step in truth)} exchanges",
        not broken and len(truth) > 0,
        f"not for {broken}",
    )
    for step in truth:
        if step["exchanges"] < 20:
            continue
        latency = step["latency_mean_ms"]
        truth_of = {part: step["truth_mean_ms"].get(part, 0.0) for part in PARTS}
        blame_of = {part: step["blame_mean_ms"].get(part, 0.0) for part in PARTS}
        for of in (truth_of, blame_of):
            of[REST] = latency - sum(of.values())
        for part in (*PARTS, REST):
            real, blamed = truth_of[part], blame_of[part]
            lines.append(((blamed - real) / latency, step["name"], part, real, blamed, latency))
    lines.sort(key=lambda line: -abs(line[0]))
    wrong = [line for line in lines if abs(line[0]) > TOLERANCE and abs(line[3] - line[4]) > FLOOR_MS]
    suite.check(f"{fault}: there are steps with truth to compare with", len(lines) >= len(PARTS))
    for _, step, part, real, blamed, latency in wrong:
        suite.check(
            f"{fault}: {step}: {part} within {TOLERANCE:.0%} of latency", False,
            f"truth {real:.2f} ms, blamed {blamed:.2f} ms, latency {latency:.2f} ms",
        )  # fmt: skip
    if lines and not wrong:
        suite.check(f"{fault}: all {len(lines)} means within {TOLERANCE:.0%} of latency", True)
    return lines


def check_found(suite: Suite, fault: str, report: dict) -> str:
    """The expected step's largest contributor is the fault's, and the headline is about it."""
    step_name, category, contributor = EXPECTED[fault]
    step = next(step for step in report["steps"] if step["name"] == step_name)
    top = max(step["contributors"], key=lambda each: each["mean_ms"])
    name = top["name"] if len(top["name"]) <= 50 else f"{top['name'][:20]} … {top['name'][-28:]}"
    seen = f"{top['category']} `{name}` {top['mean_ms']:.1f} of {step['latency_ms']['mean']:.1f} ms"
    suite.check(
        f"{fault}: {step_name} is blamed on {category} {contributor}",
        top["category"] == category and contributor.lower() in top["name"].lower(),
        seen,
    )
    suite.check(
        f"{fault}: a finding names it",
        any(
            finding["contributor"]["category"] == category
            and contributor.lower() in finding["contributor"]["name"].lower()
            for finding in report["findings"]
        ),
        str([(finding["kind"], finding["title"]) for finding in report["findings"]]),
    )
    findings = [f for f in report["findings"] if f["kind"] not in EVIDENCE]
    told = [(f["kind"], f["step"]["name"], f["confidence"]["level"]) for f in findings]
    suite.check(f"{fault}: the first finding is of its kind", bool(findings) and findings[0]["kind"] in KINDS[fault], str(told))
    wrong = [line for line in told if line[0] not in KINDS[fault] and line[2] == "high"]
    suite.check(f"{fault}: no other kind at high confidence", not wrong, str(wrong))
    headline, (steps, causes) = report["verdict"]["headline"], HEADLINE[fault]
    suite.check(
        f"{fault}: the headline is about it",
        any(f" {step} is slow because of {cause}" in f" {headline}" for step in steps for cause in causes),
        headline,
    )
    return seen


def table(rows: dict) -> None:
    print("\n| fault | step | blamed on | part | truth ms | blamed ms | latency ms | worst difference of the run |")
    print("|---|---|---|---|---|---|---|---|")
    for fault, (seen, lines) in rows.items():
        step_name = EXPECTED.get(fault, (None,))[0]
        worst = f"{lines[0][0]:+.1%} ({lines[0][1]}, {lines[0][2]})" if lines else "-"
        own = [line for line in lines if line[1] == step_name and max(line[3], line[4]) > 0.05 * line[5]]
        for _, step, part, real, blamed, latency in own or [(0, "-", "-", 0, 0, 0)]:
            print(f"| {fault} | {step} | {seen} | {part} | {real:.2f} | {blamed:.2f} | {latency:.2f} | {worst} |")
    print()


def one_fault(suite: Suite, fault: str, name: str, rows: dict) -> None:
    ran, report, truth = run_demo(suite, fault, name)
    print(f"    {report['verdict']['headline']}", flush=True)
    lines = check_truth(suite, fault, truth)
    coverage = report["telemetry"]["coverage"]
    suite.check(f"{fault}: coverage is at least 0.99", coverage >= 0.99, f"{coverage}")
    if fault == "none":
        found = [(f["kind"], f["title"]) for f in report["findings"] if f["kind"] not in EVIDENCE]
        suite.check("none: nothing is called a problem", found == [], f"{found}\n{ran.text[-2000:]}")
        rows[fault] = ("nothing", lines)
    else:
        rows[fault] = (check_found(suite, fault, report), lines)


def main() -> int:
    faults = os.environ.get("HOTSPAN_FAULTS", "").replace(",", " ").split() or ["none", *EXPECTED]
    rows: dict = {}
    with Suite("faults") as suite:
        for fault in faults:
            suite.measured(fault, lambda name, fault=fault: one_fault(suite, fault, name, rows))
        table(rows)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

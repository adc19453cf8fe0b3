"""The detection table: every fault of the demo alone and in pairs, at three loads, and none; what is found, and is it right?

    HOTSPAN_BIN=target/release/hotspan python3 tests/stack/detection_table.py --out docs/detection.md

Right means: the first findings are of the faults' own kinds (as many as there are faults), no other kind has high
confidence, and with no fault there is no finding. Runs are kept in the folder --runs: one that is there is analysed again
and not made again, so that a long table can be made in several goes, and shows what other code finds in the same runs;
`--seconds`, `--loads`, `--only` and `--pairs` bound it, `--jobs` makes several runs at a time.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Fault: the kinds that are right for it. A lock that is held for a slow payment is a slow payment too.
KINDS = {
    "n_plus_one": {"n_plus_one_query"},
    "missing_index": {"missing_index"},
    "slow_external": {"slow_external"},
    "rate_limited_external": {"rate_limited"},
    "cpu": {"app_cpu"},
    "pool_exhausted": {"pool_wait"},
    "lock_contention": {"lock_contention", "slow_external"},
    "sequential_calls": {"n_plus_one_call", "sequential_calls"},
    "cache_off": {"uncached", "cache_miss"},
    "cold_start": {"cold_start"},
    "large_payload": {"large_payload"},
    "static_by_app": {"static_by_app"},
}
EVIDENCE = {"clock_skew", "incomplete_traces", "generator_bound"}


def run(binary: str, faults: tuple, users: int, args: argparse.Namespace) -> dict:
    """What is found in one run of the demo, which is made where it is not there."""
    folder = args.runs / f"{'+'.join(faults) or 'none'}-{users}-{args.seconds}s"
    if not list(folder.glob("*/report.json")):
        # What a run left that was not ended.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        answer(
            [binary, "demo", "--fault", ",".join(faults) or "none", "--users", str(users), "--duration", f"{args.seconds}s", "--quiet", "--out", str(folder)],
            args.seconds + 240,
        )  # fmt: skip
    (made,) = folder.glob("*/report.json")
    report = answer([binary, "analyze", str(made.parent)], 240)
    findings = [
        {
            "kind": f["kind"], "step": f["step"]["name"], "confidence": f["confidence"]["level"],
            "name": f["contributor"]["name"][:80], "mean_ms": f["evidence"].get("mean_ms", 0.0),
        }
        for f in report["findings"]
    ]  # fmt: skip
    load = report["load"]["achieved_per_s"]
    return {"faults": list(faults), "users": users, "per_s": load, "findings": findings}


def answer(command: list, timeout: int) -> dict:
    """The report that a command prints."""
    command = [*command, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def judge(result: dict) -> str:
    """`right`, or what is not."""
    findings = [f for f in result["findings"] if f["kind"] not in EVIDENCE]
    faults = result["faults"]
    if not faults:
        return "right" if not findings else "a finding without a fault"
    allowed = set().union(*(KINDS[fault] for fault in faults))
    wrong = [f for f in findings if f["kind"] not in allowed and f["confidence"] == "high"]
    if wrong:
        return f"also {wrong[0]['kind']} ({wrong[0]['step']})"
    missing = [fault for fault in faults if not any(f["kind"] in KINDS[fault] for f in findings)]
    if missing:
        return f"no {missing[0]}"
    first = findings[: len(faults)]
    out_of_order = [f for f in first if f["kind"] not in allowed]
    return f"{out_of_order[0]['kind']} before it" if out_of_order else "right"


def wanted(args) -> list:
    only = args.only.split(",") if args.only else ["none", *KINDS]
    unknown = set(only) - {"none", *KINDS}
    if unknown:
        raise SystemExit(f"--only: there is no fault {', '.join(sorted(unknown))}; there are {', '.join(KINDS)} and none")
    faults = [fault for fault in only if fault != "none"]
    alone = [()] if "none" in only else []
    alone += [(fault,) for fault in faults]
    rows = [(row, int(users)) for row in alone for users in args.loads.split(",") if users]
    if args.pairs:
        pairs = itertools.combinations(faults, 2)
        rows += [(pair, int(users)) for pair in pairs for users in args.pairs.split(",")]
    return rows


def table(results: list, args) -> str:
    right = sum(judge(result) == "right" for result in results)
    lines = [
        "# What is found in the demo",
        "",
        "Made by `tests/stack/detection_table.py`; do not edit. Each line is one run of `hotspan demo`, of "
        f"{args.seconds} s on a machine with {os.cpu_count()} cores. *Right*: the faults' own kinds come first, no other kind has high "
        "confidence, and without a fault nothing is found. Confidence is given where it is not high.",
        "",
        f"**{right} of {len(results)} runs are right.**",
        "",
        "| faults | users | requests/s | found, worst first | |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        found = [
            f"`{f['kind']}` {f['step']}" + ("" if f["confidence"] == "high" else f" ({f['confidence']})")
            for f in result["findings"][:5]
        ]
        names = " + ".join(f"`{fault}`" for fault in result["faults"]) or "none"
        lines.append(
            f"| {names} | {result['users']} | {result['per_s']:.0f} | {', '.join(found) or 'nothing'} | {judge(result)} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="Markdown file to write; without it the table is printed")
    parser.add_argument("--runs", type=Path, default=Path("target/detection"), help="run folders, of which those that are there are not made again")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--loads", default="10,20,40", help="virtual users, separated by commas; '' for pairs alone")
    parser.add_argument("--only", default="", help="faults, separated by commas")
    parser.add_argument("--pairs", default="", help="every pair of faults too, with so many users")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    args = parser.parse_args()
    binary = os.environ.get("HOTSPAN_BIN", "target/release/hotspan")
    rows, results = wanted(args), []
    with ThreadPoolExecutor(args.jobs) as pool:
        for (faults, users), result in zip(rows, pool.map(lambda row: run(binary, *row, args), rows)):
            results.append(result)
            told = [(f["kind"], f["step"], f["confidence"]) for f in result["findings"][:4]]
            print(f"{'+'.join(faults) or 'none':40} {users:3} users: {judge(result):30} {told}", file=sys.stderr, flush=True)
    text = table(results, args)
    if args.out:
        args.out.write_text(text)
    else:
        print(text)
    return 0 if all(judge(result) == "right" for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())

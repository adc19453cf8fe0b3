#!/usr/bin/env python3
"""The same series for hotspan's change-point detection and for what others use.

    pip install apache-otava scipy
    cargo build --release --bench history
    benches/history/rivals.py target/release/deps/history-…  [--series 300]

Prints Markdown tables: series without a change in which one was found, and steps of three deviations found within five
runs of where they are. Rivals:

- Otava: `compute_change_points` of Apache Otava with its defaults (window 50, p 0.001), and with p 0.01 and 5 % magnitude,
  which users often set; series are shifted to a level of 100 with a deviation of 4 %.
- MWU: Mann and Whitney's test of the last five runs against those before, p < 0.05 (two-sided).
- Welch: Welch's t-test of the same, p < 0.05.

MWU and Welch look at one place and not for one, so their false alarms are those of a single look at the last run.
"""
import argparse
import importlib.util
import json
import subprocess
import sys

from scipy import stats

KINDS = ["normal", "lognormal", "t3", "outliers", "ar0.3", "ar0.6"]


def series(program, kind, n, count, step, runs):
    out = subprocess.run([program, "series", kind, str(n), str(count), str(step), str(runs)], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in out.stdout.splitlines()]


def hotspan(program, all_series):
    text = "".join(json.dumps(s) + "\n" for s in all_series)
    out = subprocess.run([program, "detect", "0"], check=True, capture_output=True, text=True, input=text)
    return [json.loads(line)["at"] for line in out.stdout.splitlines()]


def otava(all_series, p, magnitude):
    from otava.analysis import compute_change_points

    found = []
    for one in all_series:
        points, _ = compute_change_points([100 + 4 * v for v in one], window_len=50, max_pvalue=p, min_magnitude=magnitude)
        found.append([point.index for point in points])
    return found


def last_five(all_series, test):
    return [[len(s) - 5] if test(s[-5:], s[:-5]).pvalue < 0.05 else [] for s in all_series]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("program", help="the benchmark's binary")
    arguments.add_argument("--series", type=int, default=300)
    arguments = arguments.parse_args()
    methods = {
        "hotspan": lambda s: hotspan(arguments.program, s),
        "MWU": lambda s: last_five(s, lambda a, b: stats.mannwhitneyu(a, b, alternative="two-sided")),
        "Welch": lambda s: last_five(s, lambda a, b: stats.ttest_ind(a, b, equal_var=False)),
    }
    if importlib.util.find_spec("otava"):
        methods["Otava"] = lambda s: otava(s, 0.001, 0.0)
        methods["Otava 0.01, 5 %"] = lambda s: otava(s, 0.01, 0.05)
    else:
        print("Otava is not installed: pip install apache-otava", file=sys.stderr)
    names = list(methods)

    def row(kind, n, step, runs):
        all_series = series(arguments.program, kind, n, arguments.series, step, runs)
        cells = []
        for name in names:
            found = methods[name](all_series)
            hit = sum(1 for at in found if at and (step == 0 or any(abs(i - (n - runs)) <= 5 for i in at)))
            cells.append(f"{100 * hit / len(all_series):.1f}")
        return cells

    print("| series | n | " + " | ".join(names) + " |")
    print("|---|---:|" + "---:|" * len(names))
    for kind in KINDS:
        for n in (30, 100):
            print(f"| {kind}, no change | {n} | " + " | ".join(row(kind, n, 0, 0)) + " |", flush=True)
    for kind in KINDS:
        print(f"| {kind}, 3 sd for 5 runs | 60 | " + " | ".join(row(kind, 60, 3, 5)) + " |", flush=True)


if __name__ == "__main__":
    main()

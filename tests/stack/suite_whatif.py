"""What a fix would bring, predicted from the faulty run and measured in the fixed one.

For each fault: a shop with it and a shop without it, side by side. The step that the fault slows down most is asked for
HOTSPAN_WHATIF_RATE times a second (default 8) for HOTSPAN_WHATIF_SECONDS (default 20), of the one shop and then of the other,
HOTSPAN_WHATIF_ROUNDS times (default 2). The faulty runs are analysed with `--what-if` of the change that the fix is; p50 and p95
are held against those of the fixed runs, each as the median over the rounds. Within 15 % of both counts. A small absolute
difference (HOTSPAN_WHATIF_MS, default 1 ms) counts as equal: two runs of the same shop differ by that. At least six faults must
be predicted. The closing table is Markdown.
"""

import os
import statistics
import sys

from harness import HOST, Suite, free_ports, hotspan_binary, read_report, run_folder, wait_for_port

SECONDS = int(os.environ.get("HOTSPAN_WHATIF_SECONDS", "20"))
ROUNDS = int(os.environ.get("HOTSPAN_WHATIF_ROUNDS", "2"))
RATE = int(os.environ.get("HOTSPAN_WHATIF_RATE", "8"))
EQUAL_MS = float(os.environ.get("HOTSPAN_WHATIF_MS", "1"))
TOLERANCE = 0.15
NEEDED = 6
# Fault: the step that it slows down most, and what its fix does, in the words of --what-if. Times of repaired calls are
# what the parts are known to take: the payment API answers in 8 ms, the fault hashes a password of 1,000 rounds with 150,000 more, and
# a statement with an index takes below a millisecond.
FIXES = {
    "n_plus_one": ("products", "calls(review)=1; review=0.3ms"),
    "missing_index": ("search", "search_term=0.5ms"),
    "slow_external": ("checkout", "/v1/charges=9ms"),
    "cpu": ("login", "hash password=0.0066x"),
    "cache_off": ("home", "order_item=0"),
    "sequential_calls": ("product", "calls(/stock/)=1"),
    "static_by_app": ("static", "compress static file=0"),
    "cold_start": ("search", "load catalogue=0"),
    "large_payload": ("products", "transfer=0.1ms; app=0.1x; SELECT product=0.3ms"),
}
STEPS = {
    "products": ['{name: products, get: "/products?page={{ pick(1, 200) }}"}'],
    "product": ['{name: product, get: "/products/{{ pick(1, 500) }}"}'],
    "search": ['{name: search, get: "/search?q=mk{{ pick(1, 64) }}"}'],
    "home": ["{name: home, get: /}"],
    "static": ["{name: static, get: /static/app.js, headers: {Accept-Encoding: gzip}}"],
    "login": ['{name: login, post: /login, form: {user: "user{{ pick(1, 5000) }}", password: secret}}'],
    "checkout": [
        '{name: login, post: /login, form: {user: "user{{ pick(1, 5000) }}", password: secret}}',
        '{name: basket_add, post: /basket, json: {product_id: "{{ pick(1, 10000) }}", quantity: 1}, expect: {status: 201}}',
        "{name: checkout, post: /checkout, expect: {status: 201}}",
    ],
}


class Shop:
    """A shop whose spans go to the receiver of whoever loads it."""

    def __init__(self, suite: Suite, fault: str, grpc: int):
        (port,) = free_ports(1)
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{grpc}", "OTEL_BSP_SCHEDULE_DELAY": "500"}
        command = [hotspan_binary(), "demo", "--serve", f"{HOST}:{port}", "--fault", fault]
        self.process = suite.start(f"shop-{fault}-{port}", command, env=environment)
        wait_for_port(port, self.process, seconds=120)
        self.url = f"http://{HOST}:{port}"


def load(suite: Suite, shop: Shop, step: str, name: str, seed: int, ports: tuple):
    scenario = suite.folder / f"{name}.yaml"
    steps = "\n".join(f"      - {each}" for each in STEPS[step])
    scenario.write_text(
        f"name: {name}\ntarget: {shop.url}\nload: [{{rate: {RATE}/s, for: {SECONDS}s}}]\njourneys:\n  one:\n    steps:\n{steps}\n"
    )
    out = suite.folder / name
    ran = suite.hotspan(
        "run", scenario, "--seed", seed, "--out", out, "--no-ui", "--otlp-grpc", f"{HOST}:{ports[0]}", "--otlp-http", f"{HOST}:{ports[1]}",
        timeout=SECONDS + 180,
    )  # fmt: skip
    suite.check(f"{name}: hotspan run exits with 0", ran.code == 0, str(ran))
    failed = {each["name"]: each["errors"] for each in read_report(run_folder(out))["steps"] if each["errors"]}
    suite.check(f"{name}: no request failed", not failed, str(failed))
    return run_folder(out)


def quantiles(latency: dict) -> tuple:
    return latency["p50"], latency["p95"]


def middle(pairs: list) -> tuple:
    return tuple(statistics.median(pair[i] for pair in pairs) for i in (0, 1))


def predicted(suite: Suite, folder, fault: str) -> tuple:
    step, change = FIXES[fault]
    ran = suite.hotspan("analyze", folder, "--what-if", change, "--format", "json", timeout=180)
    suite.check(f"{fault}: analyze --what-if exits with 0", ran.code == 0, str(ran))
    imagined = read_report(folder)["what_if"][0]
    suite.check(f"{fault}: `{change}` is about something", len(imagined["matched"]) > 0, str(imagined)[:300])
    of = next(each for each in imagined["steps"] if each["step"]["name"] == step)
    best = of["best_ms"] or of["after_ms"]
    return quantiles(of["before_ms"]), quantiles(of["after_ms"]), quantiles(best)


def near(value: float, truth: float) -> bool:
    return abs(value - truth) <= max(TOLERANCE * truth, EQUAL_MS)


def row(fault: str, truth: tuple, runs: list) -> tuple:
    """A line of the table, and whether the prediction holds."""
    step, change = FIXES[fault]
    before, after, best = (middle([run[i] for run in runs]) for i in range(3))
    # Where requests waited for a turn the prediction is a range: its nearer end counts.
    ends = [min((after[i], best[i]), key=lambda v, i=i: abs(v - truth[i])) for i in (0, 1)]
    fits = all(near(ends[i], truth[i]) for i in (0, 1))
    cells = [
        f"{before[i]:.1f} → {ends[i]:.1f} | {truth[i]:.1f} | {100 * (ends[i] / truth[i] - 1):+.0f} %" for i in (0, 1)
    ]
    return f"| {fault} | {step} | `{change}` | {cells[0]} | {cells[1]} | {'yes' if fits else 'no'} |", fits


def main() -> int:
    wanted = sys.argv[1:] or list(FIXES)
    lines = []
    with Suite("whatif") as suite:
        ports = tuple(free_ports(2))
        for fault in wanted:
            with suite.case(fault):
                step, change = FIXES[fault]
                healthy, fixed, faulty = Shop(suite, "none", ports[0]), [], []
                for round_ in range(ROUNDS):
                    # Each time anew: what is slow only at first is slow only then.
                    broken = Shop(suite, fault, ports[0])
                    folder = load(suite, broken, step, f"{fault}-{round_ + 1}", 7 + round_, ports)
                    faulty.append(predicted(suite, folder, fault))
                    suite.stop(broken.process)
                    report = read_report(load(suite, healthy, step, f"{fault}-fixed-{round_ + 1}", 7 + round_, ports))
                    fixed.append(quantiles(next(s for s in report["steps"] if s["name"] == step)["latency_ms"]))
                suite.stop(healthy.process)
                lines.append(row(fault, middle(fixed), faulty))
                print(lines[-1][0], flush=True)
        print("\n| fault | step | --what-if | p50 ms, predicted | fixed | off | p95 ms, predicted | fixed | off | within 15 % |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        print("\n".join(line for line, _ in lines) + "\n")
        right, needed = sum(fits for _, fits in lines), min(NEEDED, len(wanted))
        suite.check(f"at least {needed} fixes are predicted within 15 %", right >= needed, f"{right} are")
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

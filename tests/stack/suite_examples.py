"""The scenarios under examples/, as they are but for a shorter load and a free port, against the shop of `hotspan demo`
without faults: every step is reached, every check holds, nothing fails, and nearly every request has its server's spans.
Their thresholds are evaluated; whether they hold depends on the machine and is not checked."""

import re
import sys
import urllib.request

from harness import HERE, HOST, Suite, free_ports, hotspan_binary, read_report, run_folder, wait_for_port

EXAMPLES = sorted((HERE.parent.parent / "examples").glob("*.yaml"))
# Exit codes: all held; the generator was late, so that nothing can be said; a threshold failed.
ENDED = (0, 3, 99)


def shortened(text: str, port: int) -> str:
    text = text.replace("127.0.0.1:8080", f"{HOST}:{port}")
    text = re.sub(r"\bramp: \d+s", "ramp: 2s", text)
    return re.sub(r"\bfor: (1m|30s)", "for: 10s", text)


def run_example(suite: Suite, example) -> None:
    name = example.stem
    port, grpc, http = free_ports(3)
    shop = suite.start(
        f"{name}-shop", [hotspan_binary(), "demo", "--serve", f"{HOST}:{port}", "--fault", "none"],
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{grpc}"},
    )  # fmt: skip
    wait_for_port(port, shop, seconds=60)
    file = suite.folder / example.name
    file.write_text(shortened(example.read_text(), port))
    out = suite.folder / f"{name}-runs"
    ran = suite.hotspan(
        "run", file, "--no-ui", "--out", out, "--otlp-grpc", f"{HOST}:{grpc}", "--otlp-http", f"{HOST}:{http}",
        env={"PASSWORD": "secret"}, timeout=120,
    )  # fmt: skip
    with urllib.request.urlopen(f"http://{HOST}:{port}/", timeout=10) as answer:
        suite.check(f"{name}: the shop still answers", answer.status == 200)
    suite.stop(shop)
    if not suite.check(f"{name}: it ends as a run does", ran.code in ENDED, str(ran)):
        return
    report = read_report(run_folder(out))
    for step in report["steps"]:
        what = f"{name}: {step['name']}"
        suite.check(f"{what}: is reached without an error", step["exchanges"] > 0 and step["errors"] == 0,
                    f"{step['exchanges']} exchanges, {step['failures']}")  # fmt: skip
        suite.check(f"{what}: all checks hold", step["checks_failed"] == 0, str(step["checks"]))
        suite.check(f"{what}: has its server's spans", step["joined"] >= 0.95 * step["exchanges"],
                    f"{step['joined']} of {step['exchanges']}")  # fmt: skip
    wanted = set(re.findall(r"\bname: ([a-z_]+)", example.read_text())) - {name}
    reached = {step["name"] for step in report["steps"]}
    suite.check(f"{name}: no step is left out", wanted <= reached | {"product", "buy"}, f"{wanted - reached} missing")
    suite.check(f"{name}: its thresholds are evaluated", len(report["thresholds"]) > 0)
    whole = "".join(path.read_text(errors="replace") for path in run_folder(out).glob("*.*"))
    suite.check(f"{name}: the password is nowhere in the run folder", '"password": "secret"' not in whole and "password=secret" not in whole)


def main() -> int:
    with Suite("examples") as suite:
        suite.check("there are examples", len(EXAMPLES) >= 3)
        for example in EXAMPLES:
            with suite.case(example.stem):
                run_example(suite, example)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

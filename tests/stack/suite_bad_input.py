"""What hotspan does when things are not as they should be.

Each case: the exit code of DESIGN's table (0 passed, 1 could not run, 2 usage, 3 ran but cannot carry a verdict, 99 a
threshold failed, 130 interrupted), a sentence that says what to do, and what was measured is kept. No case may end in
a panic or a stack trace.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from harness import HERE, Ran, Suite, clean_environment, free_ports, hotspan_binary, read_report, run_folder, wait_for_port

PARTNER = HERE / "fastapi_app" / "partner.py"
# Words of a program that fell over instead of explaining itself.
CRASH = ("panicked at", "RUST_BACKTRACE", "stack backtrace", "Os {", "Error {", "called `")


def says(suite: Suite, case: str, ran: Ran, code: "int | tuple", *words: str) -> None:
    """The exit code is one of `code`, every word is in the output, and nothing looks like a crash."""
    codes = code if isinstance(code, tuple) else (code,)
    suite.check(f"{case}: exit code {' or '.join(map(str, codes))}", ran.code in codes, str(ran))
    text = ran.text.lower()
    missing = [word for word in words if not any(each.lower() in text for each in word.split("|"))]
    suite.check(f"{case}: says {', '.join(words)}", not missing, f"missing {missing} in:\n{ran}")
    crash = [word for word in CRASH if word in ran.text]
    suite.check(f"{case}: no crash", not crash, f"{crash} in:\n{ran}")


def ports() -> list:
    grpc_port, http_port = free_ports(2)
    return ["--otlp-grpc", f"127.0.0.1:{grpc_port}", "--otlp-http", f"127.0.0.1:{http_port}"]


def start_target(suite: Suite, name: str, delay_ms: int = 5) -> tuple:
    (port,) = free_ports(1)
    process = suite.start(name, [sys.executable, PARTNER, port, delay_ms, delay_ms])
    wait_for_port(port, process)
    return process, f"http://127.0.0.1:{port}/similar/1"


def unreachable_target(suite: Suite) -> None:
    (port,) = free_ports(1)
    ran = suite.hotspan(
        "run", f"http://127.0.0.1:{port}/", "--rate", 10, "--duration", "3s", "--no-ui",
        "--out", suite.folder / "unreachable", *ports(),
    )  # fmt: skip
    says(suite, "unreachable target", ran, 1, f"127.0.0.1:{port}", "refused|nothing listens|listen")
    ran = suite.hotspan(
        "run", "http://no-such-host.invalid/", "--rate", 10, "--duration", "3s", "--no-ui",
        "--out", suite.folder / "unresolvable", *ports(),
    )  # fmt: skip
    says(suite, "name that does not resolve", ran, 1, "no-such-host.invalid", "resolve|name")


def target_without_spans(suite: Suite, url: str) -> Path:
    """Also gives a good run folder to the cases that break one."""
    out = suite.folder / "untraced"
    ran = suite.hotspan("run", url, "--rate", 50, "--duration", "3s", "--no-ui", "--out", out, *ports())
    says(suite, "target without spans", ran, 0, "no server span|no spans", "OTEL_EXPORTER_OTLP_ENDPOINT|doctor")
    report = read_report(run_folder(out))
    suite.check("target without spans: requests are kept", report["telemetry"]["exchanges"] >= 140)
    suite.check("target without spans: coverage is 0", report["telemetry"]["coverage"] == 0)
    suite.check(
        "target without spans: the waiting is called untraced",
        report["verdict"]["categories"].get("untraced", 0) > 0.5,
        str(report["verdict"]),
    )
    strict = suite.hotspan(
        "run", url, "--rate", 20, "--duration", "2s", "--no-ui", "--strict", "--out", suite.folder / "strict", *ports()
    )
    says(suite, "target without spans, --strict", strict, 3)
    scenario = suite.folder / "blame.yaml"
    target = url.rsplit("/", 2)[0]
    scenario.write_text(
        f"name: blame\ntarget: {target}\nload:\n  - {{rate: 20/s, for: 2s}}\njourneys:\n  only:\n    steps:\n"
        "      - GET /similar/1\nthresholds:\n  - database.mean < 40ms\n"
    )
    ran = suite.hotspan("run", scenario, "--no-ui", "--out", suite.folder / "blame", *ports())
    says(suite, "a threshold on blame without spans is never a pass", ran, 3)
    scenario.write_text(scenario.read_text().replace("database.mean < 40ms", "latency.p95 < 1ms"))
    ran = suite.hotspan("run", scenario, "--no-ui", "--out", suite.folder / "failed", *ports())
    says(suite, "a threshold that does not hold", ran, (3, 99), "latency.p95")
    return run_folder(out)


def wrong_yaml(suite: Suite, url: str) -> None:
    path = suite.folder / "wrong.yaml"
    good = (
        f"name: wrong\ntarget: {url}\nload:\n  - {{users: 2, for: 2s}}\njourneys:\n  only:\n    steps:\n      - GET /similar/1\n"
    )
    cases = {
        "unknown key": (good.replace("journeys:", "journys:"), ["wrong.yaml:5:1|line 5", "journys", "journeys"]),
        "wrong unit": (good.replace("for: 2s", "for: 2 parsecs"), ["wrong.yaml:4|line 4", "parsecs"]),
        "not YAML": ("name: [unclosed\n", ["wrong.yaml"]),
        "no journeys": (good.split("journeys:")[0], ["wrong.yaml", "journeys"]),
        "no load": (good.split("load:")[0] + "journeys:" + good.split("journeys:")[1], ["wrong.yaml", "load"]),
        "empty file": ("", ["wrong.yaml"]),
        "unknown threshold": (good + "thresholds:\n  - latency.p95000 <\n", ["wrong.yaml", "latency.p95000"]),
    }
    for name, (text, words) in cases.items():
        path.write_text(text)
        out = suite.folder / "wrong-runs"
        ran = suite.hotspan("run", path, "--no-ui", "--out", out, *ports(), timeout=30)
        says(suite, f"wrong YAML, {name}", ran, 1, *words)
        suite.check(f"wrong YAML, {name}: no run folder is left", not list(out.glob("**/run.json")))
    ran = suite.hotspan("run", suite.folder / "absent.yaml", "--no-ui", *ports(), timeout=30)
    says(suite, "no such scenario file", ran, 1, "absent.yaml")
    ran = suite.hotspan("run", url, "--rate", "fast", timeout=30)
    says(suite, "usage", ran, 2, "--rate")
    ran = suite.hotspan("runn", timeout=30)
    says(suite, "no such command", ran, 2, "runn")


def taken_port(suite: Suite, url: str) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken, (free,) = holder.getsockname()[1], free_ports(1)
        for option, arguments in (
            ("--otlp-grpc", ["--otlp-grpc", f"127.0.0.1:{taken}", "--otlp-http", f"127.0.0.1:{free}"]),
            ("--otlp-http", ["--otlp-grpc", f"127.0.0.1:{free}", "--otlp-http", f"127.0.0.1:{taken}"]),
        ):
            ran = suite.hotspan(
                "run", url, "--rate", 10, "--duration", "2s", "--no-ui", "--out", suite.folder / "taken", *arguments
            )
            says(suite, f"taken port {option}", ran, 1, str(taken), "in use|taken", option)


def slips(suite: Suite, good: Path) -> None:
    """What people mistype: each is told with which input, where, and what to write instead."""
    (closed,) = free_ports(1)
    empty = suite.folder / "empty"
    empty.mkdir()
    cases = {
        "compare, a path that is not there": (["compare", good, "--", "nowhere"], 1, ["head: there is no file or folder nowhere", "run folder"]),
        "compare, an empty folder": (["compare", empty, "--", good], 1, ["base:", "no run folder", "report.json"]),
        "compare, another file of the folder": (["compare", good / "report.html", "--", good], 1, ["base:", "not a report.json", "run folder"]),
        "compare, one side": (["compare", good], 1, ["which are head", "--"]),
        "report, a path that is not there": (["report", "runs/nowhere"], 1, ["there is no folder runs/nowhere", "run folder"]),
        "report, an empty folder": (["report", empty], 1, ["no run.json", "hotspan run"]),
        "report, a file of the folder": (["report", good / "report.json"], 1, ["it is a file", "name a folder"]),
        "run, a run folder": (["run", good], 1, ["folder of a run", "hotspan report"]),
        "run, a folder": (["run", empty], 1, ["is a folder", "http://"]),
        "run, a URL without its scheme": (["run", "127.0.0.1:8080/x"], 1, ["write http://127.0.0.1:8080/x"]),
        "run, a scheme with a slip": (["run", "htp://shop.test/x"], 1, ["write http://shop.test/x"]),
        "run, a port that is none": (["run", "http://127.0.0.1:99999/"], 1, ["99999", "1 to 65535"]),
        "doctor, no URL": (["doctor", "foo"], 1, ["foo", "no URL", "http://127.0.0.1:8080"]),
        "doctor, nothing listens": (["doctor", f"http://127.0.0.1:{closed}/", *ports()], 1, [f"127.0.0.1:{closed}", "refused", "start the service"]),
        "init, nothing listens": (["init", f"http://127.0.0.1:{closed}/"], 1, [f"127.0.0.1:{closed}", "refused", "start the service"]),
        "import, a file that is not there": (["import", "nowhere.har"], 1, ["nowhere.har", "name a file"]),
        "serve, a folder that is not there": (["serve", "nowhere"], 1, ["there is no folder nowhere", "hotspan run"]),
    }  # fmt: skip
    for name, (arguments, code, words) in cases.items():
        ran = suite.hotspan(*arguments, timeout=60)
        says(suite, name, ran, code, *words)
        layers = [word for word in ("error sending request", "builder error", "client error") if word in ran.text]
        suite.check(f"{name}: no names of layers", not layers, ran.text)
    with open("/dev/full", "w") as full:
        ran = subprocess.run([hotspan_binary(), "report", good, "--format", "json"], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    suite.check("output that cannot be written is told", ran.returncode == 1 and "standard output" in ran.stderr, ran.stderr)


def full_disk(suite: Suite, url: str) -> None:
    disk = suite.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", disk], capture_output=True, text=True)
    if mounted.returncode != 0:
        suite.check("full disk: a small file system could be mounted (needs root)", False, mounted.stderr.strip())
        return
    suite.on_end.append(lambda: subprocess.run(["umount", disk], check=True))
    ran = suite.hotspan("run", url, "--rate", 1000, "--duration", "10s", "--no-ui", "--out", disk, *ports(), timeout=90)
    says(suite, "full disk", ran, (1, 3), "disk|No space left|space", str(disk))
    folder = run_folder(disk)
    rescued = suite.folder / "rescued"
    shutil.copytree(folder, rescued)
    again = suite.hotspan("analyze", rescued, timeout=60)
    suite.check("full disk: what was written can be analysed", again.code in (0, 1, 3), str(again))
    crash = [word for word in CRASH if word in again.text]
    suite.check("full disk: no crash in the analysis", not crash, str(again))
    kept = read_report(rescued)["telemetry"]["exchanges"]
    suite.check("full disk: what was measured before it was full is kept", kept >= 100, f"{kept} exchanges")


def target_dies(suite: Suite) -> None:
    process, url = start_target(suite, "mortal")
    out = suite.folder / "mortal-runs"
    timer = threading.Timer(3.0, lambda: suite.stop(process))
    timer.start()
    ran = suite.hotspan("run", url, "--rate", 50, "--duration", "8s", "--no-ui", "--out", out, *ports(), timeout=60)
    timer.join()
    says(suite, "target dies in the middle", ran, (0, 1, 3), "refused|reset|stopped answering|died|failed")
    report = read_report(run_folder(out))
    step = report["steps"][0]
    good = step["exchanges"] - step["errors"]
    suite.check(
        "target dies in the middle: the good part is kept, the rest are errors",
        80 <= good <= 200 and step["errors"] >= 1,
        f"{step['exchanges']} exchanges, {step['errors']} errors",
    )


def interrupted(suite: Suite, url: str) -> None:
    out = suite.folder / "interrupted"
    began = time.monotonic()
    process = subprocess.Popen(
        [hotspan_binary(), "run", url, "--rate", "50", "--duration", "60s", "--no-ui", "--out", str(out), *ports()],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=clean_environment(), cwd=suite.folder, start_new_session=True,
    )  # fmt: skip
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    try:
        text, err = process.communicate(timeout=40)
    except subprocess.TimeoutExpired:
        process.kill()
        text, err = process.communicate()
    ran = Ran(process.args, process.returncode, text, err, time.monotonic() - began)
    says(suite, "interrupted", ran, 130)
    report = read_report(run_folder(out))
    suite.check("interrupted: a partial report is written", 50 <= report["telemetry"]["exchanges"] <= 600)


def killed(suite: Suite, url: str) -> None:
    out = suite.folder / "killed"
    process = subprocess.Popen(
        [hotspan_binary(), "run", url, "--rate", "200", "--duration", "60s", "--no-ui", "--out", str(out), *ports()],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=clean_environment(), cwd=suite.folder, start_new_session=True,
    )  # fmt: skip
    time.sleep(4)
    process.kill()
    process.wait()
    folder = run_folder(out)
    ran = suite.hotspan("analyze", folder, timeout=60)
    says(suite, "killed in the middle, then analysed", ran, (0, 3))
    seen = read_report(folder)["telemetry"]["exchanges"]
    suite.check("killed in the middle: most requests are there", seen >= 300, f"{seen} exchanges of about 800")


def truncated(suite: Suite, good: Path) -> None:
    whole = read_report(good)["telemetry"]["exchanges"]
    for cut in (1, 7, 4000):
        folder = suite.folder / f"cut-{cut}"
        shutil.copytree(good, folder)
        (folder / "report.json").unlink()
        files = [path for path in (folder / "exchanges").iterdir() if path.stat().st_size > 5000]
        largest = max(files or (folder / "exchanges").iterdir(), key=lambda path: path.stat().st_size)
        os.truncate(largest, max(largest.stat().st_size - cut, 0))
        ran = suite.hotspan("analyze", folder, timeout=60)
        says(suite, f"run folder cut by {cut} bytes", ran, (0, 3), "torn|truncated", "left out")
        seen = read_report(folder)["telemetry"]["exchanges"]
        suite.check(f"run folder cut by {cut} bytes: the rest is read", 0 < seen < whole, f"{seen} of {whole}")
    empty = suite.folder / "not-a-run"
    empty.mkdir()
    ran = suite.hotspan("analyze", empty, timeout=60)
    says(suite, "a folder that is no run", ran, 1, "not-a-run", "run.json|run folder")
    ran = suite.hotspan("analyze", suite.folder / "absent", timeout=60)
    says(suite, "a run folder that is not there", ran, 1, "absent")


def main() -> int:
    with Suite("bad_input") as suite:
        _, url = start_target(suite, "target")
        good = None
        with suite.case("unreachable target"):
            unreachable_target(suite)
        with suite.case("target without spans"):
            good = target_without_spans(suite, url)
        with suite.case("wrong YAML"):
            wrong_yaml(suite, url)
        with suite.case("taken port"):
            taken_port(suite, url)
        with suite.case("full disk"):
            full_disk(suite, url)
        with suite.case("target dies in the middle"):
            target_dies(suite)
        with suite.case("interrupted"):
            interrupted(suite, url)
        with suite.case("killed in the middle"):
            killed(suite, url)
        with suite.case("slips"):
            slips(suite, good)
        with suite.case("truncated run folder"):
            truncated(suite, good)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

"""`hotspan doctor` against services that are traced well and badly in each way it knows of, against the demo shop, and
behind a real Collector that loses spans; and its brief word at the start of a run.
"""

import json
import sys

from harness import HERE, HOST, Suite, free_ports, hotspan_binary, read_report, run_folder, wait_for_port
from servers import Collector

# What each mode must bring: the standing, and the complaints as (topic, words that must be in the sentence).
EXPECTED = {
    "healthy": ("good", []),
    "own_traces": ("fault", [("context", "front does not continue")]),
    "context_dropped": ("fault", [("hops", "lost between front and back")]),
    "no_database": ("hint", [("database", "No database call")]),
    "no_query_text": ("hint", [("database", "no query text")]),
    "no_calls": ("hint", [("database", "No database call"), ("calls", "No outgoing call")]),
    "duplicates": ("hint", [("duplicates", "recorded by two layers, driver, orm")]),
    "sent_twice": ("fault", [("duplicates", "came more than once")]),
    "skewed_clock": ("hint", [("clocks", "clock of back is 300")]),
    "ratio": ("fault", [("sampling", "requests that asked to be recorded were")]),
    "ratio_below": ("fault", [("hops", "only")]),
    "always_on": ("hint", [("sampling", "asked not to be recorded")]),
    "limits": ("hint", [("limits", "lost attributes")]),
    "late": ("hint", [("delay", "s after the answer")]),
    "silent": ("fault", [("arrival", "No span came")]),
}


def start_service(suite: Suite, mode: str, endpoint: str) -> tuple:
    front, back = free_ports(2)
    process = suite.start(f"service-{mode}", [sys.executable, HERE / "broken_service.py", mode, front, back, endpoint])
    wait_for_port(front, process)
    wait_for_port(back, process)
    return process, f"http://{HOST}:{front}/product"


# What a mode may bring besides: a sampler that ignores the flag ignores it both ways, a limit cuts what names a database.
ALLOWED = {"ratio_below": {"sampling"}, "limits": {"database", "calls"}}


def doctor(suite: Suite, url: str, grpc: int, *more, quiet: str = "2s", wait: str = "12s") -> tuple:
    """The exit code, and the document."""
    (http,) = free_ports(1)
    ran = suite.hotspan(
        "doctor", url, "--otlp-grpc", f"{HOST}:{grpc}", "--otlp-http", f"{HOST}:{http}", "--format", "json",
        "--quiet-period", quiet, "--wait", wait, *more,
    )  # fmt: skip
    return ran, json.loads(ran.out) if ran.out.startswith("{") else {}


def complaints(document: dict) -> list:
    return [(point["topic"], point["seen"]) for point in document.get("points", []) if point["standing"] != "good"]


def one_mode(suite: Suite, mode: str) -> None:
    (grpc,) = free_ports(1)
    process, url = start_service(suite, mode, f"http://{HOST}:{grpc}")
    # Half of 20 requests are recorded by a ratio of 0.5, none or all of them once in half a million runs.
    more = ("--requests", 20) if mode.startswith("ratio") else ()
    # Where spans come late, the wait must be longer than usual to see that.
    late = {"quiet": "10s", "wait": "15s"} if mode == "late" else {}
    ran, document = doctor(suite, url, grpc, *more, **late)
    suite.stop(process)
    standing, wanted = EXPECTED[mode]
    code = 3 if standing == "fault" else 0
    suite.check(f"{mode}: exit code {code}", ran.code == code, str(ran))
    suite.check(f"{mode}: standing is {standing}", document.get("standing") == standing, str(ran))
    seen = complaints(document)
    for topic, words in wanted:
        suite.check(f"{mode}: says so about {topic}", any(t == topic and words in s for t, s in seen), str(seen))
    others = [(topic, said) for topic, said in seen if topic not in {each[0] for each in wanted} | ALLOWED.get(mode, set())]
    suite.check(f"{mode}: complains of nothing else", not others, str(others))
    fixes = [point for point in document.get("points", []) if point["standing"] != "good" and not point["fix"]]
    suite.check(f"{mode}: every complaint has its fix", not fixes, str(fixes))


def behind_a_collector(suite: Suite) -> None:
    """A Collector whose second exporter has nowhere to go loses spans, and says so in its own metrics."""
    grpc, nobody = free_ports(2)
    collector = Collector(
        suite,
        "collector",
        {
            "exporters": {
                "otlp/hotspan": {"endpoint": f"{HOST}:{grpc}", "tls": {"insecure": True}},
                "otlp/nobody": {
                    "endpoint": f"{HOST}:{nobody}", "tls": {"insecure": True}, "timeout": "1s",
                    "sending_queue": {"enabled": False}, "retry_on_failure": {"enabled": False},
                },
            },
            "service": {"pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["otlp/hotspan", "otlp/nobody"]}}},
        },
    )  # fmt: skip
    process, url = start_service(suite, "healthy", collector.grpc)
    ran, document = doctor(suite, url, grpc, "--collector-metrics", collector.metrics_url)
    suite.stop(process)
    collector.stop()
    seen = complaints(document)
    suite.check("collector: exit code 3", ran.code == 3, str(ran))
    suite.check(
        "collector: what it lost is told, with the counter's name",
        any(topic == "collector" and "otelcol_exporter_send_failed_spans" in said for topic, said in seen),
        str(seen),
    )


def words(suite: Suite) -> None:
    """The text for people, for a healthy and a broken service; shown whole in the log."""
    for mode, head in (("healthy", "is traced well: blame will be fair"), ("context_dropped", "is not traced well enough")):
        grpc, http = free_ports(2)
        process, url = start_service(suite, mode, f"http://{HOST}:{grpc}")
        ran = suite.hotspan("doctor", url, "--otlp-grpc", f"{HOST}:{grpc}", "--otlp-http", f"{HOST}:{http}", "--quiet-period", "2s")
        suite.stop(process)
        suite.check(f"text, {mode}: the verdict comes first", head in ran.out.splitlines()[0], ran.out)
        print("\n".join(f"    | {line}" for line in ran.out.splitlines()), flush=True)


def unreachable(suite: Suite) -> None:
    (port,) = free_ports(1)
    grpc, http = free_ports(2)
    ran = suite.hotspan("doctor", f"http://{HOST}:{port}/", "--otlp-grpc", f"{HOST}:{grpc}", "--otlp-http", f"{HOST}:{http}")
    suite.check("nobody there: exit code 1 and the URL", ran.code == 1 and f":{port}/" in ran.err, str(ran))
    ran = suite.hotspan("doctor", "http://127.0.0.1:1/", "--requests", 0)
    suite.check("no requests at all is a mistake of usage", ran.code == 2, str(ran))


def at_the_start_of_a_run(suite: Suite) -> None:
    for mode, said in (("healthy", None), ("no_database", "No database call is to be seen.")):
        grpc, http = free_ports(2)
        process, url = start_service(suite, mode, f"http://{HOST}:{grpc}")
        out = suite.folder / f"runs-{mode}"
        ran = suite.hotspan(
            "run", url, "--rate", 10, "--duration", "3s", "--no-ui", "--out", out,
            "--otlp-grpc", f"{HOST}:{grpc}", "--otlp-http", f"{HOST}:{http}",
        )  # fmt: skip
        suite.stop(process)
        suite.check(f"run, {mode}: passes", ran.code == 0, str(ran))
        told = " ".join(str(each) for each in read_report(run_folder(out))["telemetry"]["warnings"])
        holds = said in told if said else "is to be seen" not in told and "recorded twice" not in told
        suite.check(f"run, {mode}: the report says what blame cannot see", holds, told)


def the_demo_shop(suite: Suite) -> None:
    """The demo runs with its own receiver, so the doctor's sentences of its run are looked at."""
    out = suite.folder / "runs-demo"
    ran = suite.hotspan("demo", "--fault", "none", "--users", 4, "--duration", "6s", "--no-ui", "--out", out)
    suite.check("demo: passes", ran.code == 0, str(ran))
    told = " ".join(str(each) for each in read_report(run_folder(out))["telemetry"]["warnings"])
    for words_of_a_complaint in ("is to be seen", "recorded twice", "never came", "lost between", "only", "do not say"):
        suite.check(f"demo: no complaint with '{words_of_a_complaint}'", words_of_a_complaint not in told, told)


def main() -> int:
    hotspan_binary()
    with Suite("doctor") as suite:
        for mode in EXPECTED:
            with suite.case(mode):
                one_mode(suite, mode)
        for name, part in (
            ("collector", behind_a_collector), ("words", words), ("unreachable", unreachable), ("run", at_the_start_of_a_run),
            ("demo", the_demo_shop),
        ):  # fmt: skip
            with suite.case(name):
                part(suite)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

"""Every query of every panel, variable and annotation of the dashboards, run against a real Prometheus after real runs,
and returning data: two runs of the demo shop whose metrics go by OTLP through a real Collector, and one that Prometheus
scrapes (`--metrics-listen`). Exemplars lead to traces of the run; promtool reads the files and the text.
"""

import json
import re
import subprocess
import sys
import threading
import time

import yaml
from harness import HOST, Suite, free_ports, wait_for_port
from servers import ROOT, Collector, Prometheus, get, program, until, validated

# Only runs with such failures have these.
WITHOUT_FAILURES = ("error_type", "hotspan_check_result")
SECONDS = 24


def prometheus_config(scrape_port: int) -> dict:
    """The file of the compose stack, its targets moved to this machine."""
    config = yaml.safe_load((ROOT / "collector/prometheus.yaml").read_text())
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] == "hotspan"]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"{HOST}:{scrape_port}"]}]
    config["scrape_configs"][0]["scrape_interval"] = "1s"
    return config


def collector_config(prometheus: Prometheus) -> dict:
    """The metrics pipeline of fan-out.yaml and span-metrics.yaml, its target moved to this machine."""
    base = yaml.safe_load((ROOT / "collector/fan-out.yaml").read_text())
    spans = yaml.safe_load((ROOT / "collector/span-metrics.yaml").read_text())
    exporter = {**base["exporters"]["otlphttp/prometheus"], "endpoint": f"{prometheus.url}/api/v1/otlp"}
    connector = {**spans["connectors"]["spanmetrics"], "metrics_flush_interval": "2s"}
    return {
        "processors": {"batch": base["processors"]["batch"]},
        "connectors": {"spanmetrics": connector},
        "exporters": {"otlphttp/prometheus": exporter},
        "service": {
            "pipelines": {
                "traces": {"receivers": ["otlp"], "processors": ["batch"], "exporters": ["spanmetrics"]},
                "metrics": {"receivers": ["otlp"], "processors": ["batch"], "exporters": ["otlphttp/prometheus"]},
                "metrics/spans": {"receivers": ["spanmetrics"], "processors": ["batch"], "exporters": ["otlphttp/prometheus"]},
            }
        },
    }


def demo(suite: Suite, name: str, fault: str, *more, env=None) -> str:
    """A run of the demo shop; its run id."""
    out = suite.folder / name
    ran = suite.hotspan(
        "demo", "--fault", fault, "--users", 5, "--duration", f"{SECONDS}s", "--no-ui", "--out", out, *more, env=env, timeout=240
    )  # fmt: skip
    suite.check(f"{name}: the run passes", ran.code == 0, str(ran))
    (folder,) = out.iterdir()
    return folder.name


def filled(expression: str, values: dict, seconds: int) -> str:
    """A query with its variables filled in, as Grafana does."""
    values = {"__rate_interval": "10s", "__range": f"{seconds}s", **values}
    return re.sub(r"\$(\w+)", lambda found: values[found.group(1)], expression)


def panels(suite: Suite, prometheus: Prometheus, label: str, values: dict, began: float, boards: list) -> None:
    ended = time.time()
    for path in boards:
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for target in panel["targets"]:
                query = filled(target["expr"], values, int(ended - began) + 1)
                if target.get("instant"):
                    data = prometheus.query(query)
                else:
                    data = prometheus.query_range(query, began, ended, 2)
                points = [value for series in data for value in series.get("values", [series.get("value")]) if value]
                numbers = [value for _, value in points if value not in ("NaN", "+Inf")]
                needs_failures = any(name in target["expr"] for name in WITHOUT_FAILURES) and "or vector" not in target["expr"]
                if needs_failures:
                    suite.check(f"{label}: {path.name}: {panel['title']} {target['refId']}: the query is accepted", True)
                else:
                    suite.check(f"{label}: {path.name}: {panel['title']} {target['refId']}: returns data", bool(numbers), query)
        for mark in board["annotations"]["list"]:
            data = prometheus.query_range(filled(mark["expr"], values, 0), began, ended, 2)
            times = {float(value) / 1000 for series in data for _, value in series["values"]}
            inside = times and all(began - 1 <= each <= ended + 1 for each in times)
            suite.check(f"{label}: {path.name}: {mark['name']}: marks moments of the runs", bool(inside), str(times))
        for variable in board["templating"]["list"]:
            series, name = re.match(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
            data = prometheus.query_range(filled(series, values, 0), began, ended, 5)
            suite.check(
                f"{label}: {path.name}: ${variable['name']} has values", any(each["metric"].get(name) for each in data), series
            )


def exemplars(suite: Suite, prometheus: Prometheus, label: str, run: str, began: float, folder) -> None:
    """The dots of the graphs are traces of that run."""
    found = prometheus.exemplars(f'http_client_request_duration_seconds{{hotspan_run_id="{run}"}}', began, time.time())
    found += prometheus.exemplars(f'http_client_request_duration_seconds_bucket{{hotspan_run_id="{run}"}}', began, time.time())
    traces = {each["labels"].get("trace_id", "") for series in found for each in series["exemplars"]}
    ran = suite.hotspan("spans", folder)
    known = set(re.findall(r'"trace_id":"([0-9a-f]{32})"', ran.out))
    suite.check(f"{label}: exemplars are there", bool(traces), str(found)[:300])
    suite.check(f"{label}: each exemplar is a trace of the run", traces <= known, str(sorted(traces - known)[:3]))


def text_is_openmetrics(suite: Suite, port: int, seen: dict) -> None:
    """Reads the text while the run goes on."""

    def look():
        try:
            seen["text"] = until("text", lambda: (t := get(f"http://{HOST}:{port}/metrics").decode()) and "hotspan_blame" in t and t, 60)
        except RuntimeError as problem:
            seen["problem"] = str(problem)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    seen["thread"] = thread


def main() -> int:
    with Suite("dashboards") as suite:
        ran = validated(suite, [program("HOTSPAN_PROMTOOL"), "check", "config", ROOT / "collector/prometheus.yaml"])
        suite.check("promtool check config: prometheus.yaml", ran.returncode == 0, ran.stdout + ran.stderr)
        (scrape_port,) = free_ports(1)
        prometheus = Prometheus(suite, prometheus_config(scrape_port))
        collector = Collector(suite, "collector", collector_config(prometheus))
        boards = sorted((ROOT / "dashboards").glob("*.json"))
        suite.check("there are three dashboards", len(boards) == 3, str(boards))
        export = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        }  # fmt: skip
        with suite.case("by OTLP"):
            began = time.time()
            base = demo(suite, "base", "none", env=export)
            head = demo(suite, "head", "n_plus_one", env=export)
            until(
                "the last metrics are in Prometheus",
                lambda: prometheus.query(f'hotspan_run_ended_seconds{{hotspan_run_id="{head}"}}'),
            )
            values = {"run": f"{base}|{head}", "base": base, "head": head, "step": ".*"}
            panels(suite, prometheus, "OTLP", values, began, boards)
            exemplars(suite, prometheus, "OTLP", base, began, suite.folder / "base")
            data = until("span metrics", lambda: prometheus.query("sum by (service_name) (traces_span_metrics_calls_total)"))
            names = {each["metric"].get("service_name") for each in data}
            suite.check("span metrics of hotspan's client spans are there", "hotspan" in names, str(names))
        with suite.case("by scraping"):
            began, seen = time.time(), {}
            text_is_openmetrics(suite, scrape_port, seen)
            run = demo(suite, "scraped", "none", "--metrics-listen", f"{HOST}:{scrape_port}")
            seen["thread"].join(timeout=70)
            values = {"run": run, "base": run, "head": run, "step": ".*"}
            panels(suite, prometheus, "scraped", values, began, [path for path in boards if path.name != "compare-runs.json"])
            exemplars(suite, prometheus, "scraped", run, began, suite.folder / "scraped")
            # promtool reads the older text format, which has no exemplars; those Prometheus itself has read above.
            older = re.sub(r" # \{.*$", "", seen.get("text", "").replace("# EOF\n", ""), flags=re.M)
            checked = subprocess.run(
                [program("HOTSPAN_PROMTOOL"), "check", "metrics"], input=older,
                capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            broken = [line for line in (checked.stdout + checked.stderr).splitlines() if "error" in line]
            suite.check("promtool check metrics reads the text", "text" in seen and not broken, str(broken or seen.get("problem")))
        wait_for_port(prometheus.port, prometheus.process)
        collector.stop()
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

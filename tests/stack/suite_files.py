"""The compose file, the Dockerfile, the Collector's configurations and the dashboards, as far as they can be checked
without a container engine: Docker Compose's own implementation reads the file, they are pinned, what they refer to exists,
and nothing is published beyond loopback. What the real Collector and Prometheus say of their files is in the suites
collector and dashboards; what only a container engine, Tempo or Grafana could tell is not checked, and each file's header
says so.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from harness import HERE, Suite

ROOT = HERE.parent.parent
# An image with a tag that names a version: never a bare name, never `latest`.
PINNED = re.compile(r"^[\w./-]+:v?\d+(\.\d+)+[\w.-]*(@sha256:[0-9a-f]{64})?$")


def compose(suite: Suite) -> None:
    """As Docker Compose's own implementation reads the file: anchors merged, variables filled in."""
    checker = [os.environ["HOTSPAN_COMPOSE_CHECK"], ROOT / "docker-compose.yml", "run"]
    ran = subprocess.run(checker, capture_output=True, text=True, timeout=60, check=False)
    if not suite.check("compose: the implementation of Docker Compose accepts the file", ran.returncode == 0, ran.stderr):
        return
    services = json.loads(ran.stdout)["services"]
    wanted = {"collector", "jaeger", "tempo", "prometheus", "grafana", "shop", "postgresql", "hotspan"}
    suite.check("compose: the whole stack is there", set(services) == wanted, str(sorted(services)))
    for name, service in services.items():
        suite.check(f"compose: {name}: memory is limited", int(service.get("mem_limit", 0)) > 0)
        if "build" not in service:
            suite.check(f"compose: {name}: image is pinned", bool(PINNED.match(service["image"])), service["image"])
        else:
            safe = service.get("read_only") and service.get("cap_drop") == ["ALL"]
            suite.check(f"compose: {name}: reads only, without capabilities", bool(safe), str(service))
        for port in service.get("ports", []):
            suite.check(f"compose: {name}: port {port['target']} is published on loopback only", port["host_ip"] == "127.0.0.1")
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                source = Path(volume["source"])
                suite.check(f"compose: {name}: {source.name} exists", source.exists() or source.name == "runs")
        for other, condition in service.get("depends_on", {}).items():
            known = other in services and ("healthcheck" in services[other] or condition["condition"] == "service_started")
            suite.check(f"compose: {name}: depends on {other}, which can be waited for", known, str(condition))
    for name in ("postgresql", "prometheus", "grafana"):
        suite.check(f"compose: {name}: has a health check", "healthcheck" in services[name])
    # The two services that are started when the file is used must start here too, but for the addresses.
    for name in ("shop", "hotspan"):
        command = [part for part in services[name]["command"] if part]
        ran = suite.hotspan(*command[:1], "--help")
        options = [part for part in command if part.startswith("--")]
        missing = [option for option in options if option not in ran.out]
        suite.check(f"compose: {name}: hotspan has all its options", not missing, str(missing))
    for path in (ROOT / "collector").glob("*.yaml"):
        for host in re.findall(r"(?:endpoint: |http://|targets: \[\")([a-z]+):\d+", path.read_text()):
            if path.name not in ("host.yaml", "file-export.yaml") and host != "localhost":
                suite.check(f"compose: {path.name} speaks to {host}, which is a service", host in services)


def collector(suite: Suite) -> None:
    base = yaml.safe_load((ROOT / "collector/fan-out.yaml").read_text())
    for path in sorted((ROOT / "collector").glob("*.yaml")):
        config = yaml.safe_load(path.read_text())
        if "service" not in config:
            continue
        # What has no receivers is given beside fan-out.yaml, and its pipelines replace those of the same name.
        below = base if "receivers" not in config else {}
        kinds = ("receivers", "processors", "exporters", "connectors")
        defined = {kind: {**below.get(kind, {}), **config.get(kind, {})} for kind in kinds}
        pipelines = {**below.get("service", {}).get("pipelines", {}), **config["service"]["pipelines"]}
        for name, pipeline in pipelines.items():
            for kind in ("receivers", "processors", "exporters"):
                known = {**defined[kind], **(defined["connectors"] if kind != "processors" else {})}
                missing = [part for part in pipeline[kind] if part not in known]
                suite.check(f"collector: {path.name}: {name}: every one of {kind} is defined", not missing, str(missing))
            if "otlp/hotspan" in pipeline["exporters"]:
                suite.check(
                    f"collector: {path.name}: {name}: spans are not sampled on their way to hotspan",
                    not any("sampl" in part for part in pipeline["processors"]),
                )
        used = {part for pipeline in pipelines.values() for part in sum(pipeline.values(), [])}
        idle = [part for kind in kinds for part in config.get(kind, {}) if part not in used]
        suite.check(f"collector: {path.name}: every part is used", not idle, str(idle))


def dashboards(suite: Suite) -> None:
    sources = yaml.safe_load((ROOT / "dashboards/provisioning/datasources/hotspan.yaml").read_text())["datasources"]
    uids = {source["uid"] for source in sources}
    yaml.safe_load((ROOT / "dashboards/provisioning/dashboards/hotspan.yaml").read_text())
    for path in sorted((ROOT / "dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        ids = [panel["id"] for panel in board["panels"]]
        suite.check(f"dashboards: {path.name}: panels have ids of their own", len(set(ids)) == len(ids) > 0)
        for panel in board["panels"]:
            used = {each["datasource"]["uid"] for each in (panel, *panel["targets"])}
            suite.check(f"dashboards: {path.name}: {panel['title']}: its source is provisioned", used <= uids, str(used))
            suite.check(f"dashboards: {path.name}: {panel['title']}: says what it shows", len(panel["description"]) > 5)
            for target in panel["targets"]:
                expression = target["expr"]
                suite.check(
                    f"dashboards: {path.name}: {panel['title']}: brackets match",
                    all(expression.count(a) == expression.count(b) for a, b in ("()", "{}", "[]")),
                    expression,
                )
        for mark in board["annotations"]["list"]:
            suite.check(f"dashboards: {path.name}: {mark['name']}: its source is provisioned", mark["datasource"]["uid"] in uids)
        names = {each["name"] for each in board["templating"]["list"]}
        asked = set(re.findall(r"\$(\w+)", json.dumps(board["panels"]))) - {"__rate_interval", "__range"}
        suite.check(f"dashboards: {path.name}: its variables are defined", asked <= names, f"{asked}, {names}")
        boxes = [panel["gridPos"] for panel in board["panels"]]
        overlap = [
            (a, b) for i, a in enumerate(boxes) for b in boxes[:i]
            if a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"] and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]
        ]  # fmt: skip
        suite.check(f"dashboards: {path.name}: no panel covers another", not overlap, str(overlap))


def dockerfile(suite: Suite) -> None:
    text = (ROOT / "Dockerfile").read_text()
    for image in re.findall(r"^FROM (\S+)", text, re.M):
        suite.check(f"Dockerfile: {image} is pinned", bool(PINNED.match(image)))
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M):
        for source in line.split()[:-1]:
            suite.check(f"Dockerfile: COPY {source} exists", (ROOT / source).exists())
    ignored = (ROOT / ".dockerignore").read_text().split()
    suite.check("Dockerfile: what it copies is not ignored", not {"/src", "/Cargo.toml", "/README.md"} & set(ignored))
    last_stage = text.rsplit("\nFROM ", 1)[1]
    users = re.findall(r"^USER (\S+)", last_stage, re.M)
    suite.check("Dockerfile: the last stage does not run as root", bool(users) and users[-1] not in ("root", "0"))


def main() -> int:
    with Suite("files") as suite:
        for name, part in (("compose", compose), ("collector", collector), ("dashboards", dashboards), ("Dockerfile", dockerfile)):
            with suite.case(name):
                part(suite)
    return suite.finish()


if __name__ == "__main__":
    sys.exit(main())

"""The compose file, the Dockerfile, the Collector's configurations and the dashboards, as far as they can be checked
without a container engine: they parse, they are pinned, what they refer to exists, and nothing is published beyond
loopback. What only the real programs can tell is not checked here, and each file's header says so.
"""

import json
import re
import sys

import yaml
from harness import HERE, Suite

ROOT = HERE.parent.parent
# An image with a tag that names a version: never a bare name, never `latest`.
PINNED = re.compile(r"^[\w./-]+:v?\d+(\.\d+)+[\w.-]*(@sha256:[0-9a-f]{64})?$")


def compose(suite: Suite) -> None:
    users = ("./runs", "./scenario.yaml")  # the user's own, not of this repository
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name, service in services.items():
        if "build" not in service:
            suite.check(f"compose: {name}: image is pinned", bool(PINNED.match(service["image"])), service["image"])
        for port in service.get("ports", []):
            suite.check(f"compose: {name}: port {port} is published on loopback only", str(port).startswith("127.0.0.1:"))
        for volume in service.get("volumes", []):
            source = str(volume).split(":")[0]
            if source.startswith("."):
                suite.check(f"compose: {name}: {source} exists", (ROOT / source).exists() or source in users)
        for other in service.get("depends_on", []):
            suite.check(f"compose: {name}: depends on {other}, which is there", other in services)
    for path in (ROOT / "collector").glob("*.yaml"):
        for host in re.findall(r"(?:endpoint: |http://)([a-z]+):\d+", path.read_text()):
            if path.name != "host.yaml" and host != "localhost":
                suite.check(f"compose: {path.name} speaks to {host}, which is a service", host in services)


def collector(suite: Suite) -> None:
    for path in sorted((ROOT / "collector").glob("*.yaml")):
        config = yaml.safe_load(path.read_text())
        if "service" not in config:
            continue
        for name, pipeline in config["service"]["pipelines"].items():
            for kind in ("receivers", "processors", "exporters"):
                missing = [part for part in pipeline[kind] if part not in config[kind]]
                suite.check(f"collector: {path.name}: {name}: every one of {kind} is defined", not missing, str(missing))
        used = {part for pipeline in config["service"]["pipelines"].values() for part in sum(pipeline.values(), [])}
        idle = [part for kind in ("receivers", "processors", "exporters") for part in config[kind] if part not in used]
        suite.check(f"collector: {path.name}: every part is used", not idle, str(idle))
        suite.check(
            f"collector: {path.name}: spans are not sampled on their way to hotspan",
            not any("sampl" in part for part in config["service"]["pipelines"]["traces"]["processors"]),
        )


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
            for target in panel["targets"]:
                expression = target["expr"]
                suite.check(
                    f"dashboards: {path.name}: {panel['title']}: brackets match",
                    all(expression.count(a) == expression.count(b) for a, b in ("()", "{}", "[]")),
                    expression,
                )
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
